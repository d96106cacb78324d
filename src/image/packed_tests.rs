use super::*;
use proptest::prelude::*;

fn what(head: &[u8]) -> Option<&'static str> {
    recognised(head).map(|packed| packed.what)
}

/// A sector of `start`, then zeros.
fn sector(start: &[u8]) -> Vec<u8> {
    let mut bytes = start.to_vec();
    bytes.resize(bytes.len().max(512), 0);
    bytes
}

#[test]
fn signatures_need_the_fields_behind_them() {
    let cases: [(&[u8], &[u8]); 11] = [
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
            b"\x1f\x8b\x08\xe0\0\0\0\0\0\x03",
        ),
        (b"\x1f\x9d\x90", b"\x1f\x9d\xff"),
        (b"\xfd7zXZ\0\0\x04", b"\xfd7zXZ\0\0\x05"),
        (
            b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0",
            b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff",
        ),
        (b"BZh91AY&SY", b"BZh9\0\0\0"),
        (b"\x28\xb5\x2f\xfd\x04", b"\x28\xb5\x2f\xfd\x08"),
        (b"\x04\x22\x4d\x18\x64\x40", b"\x04\x22\x4d\x18\x64\x00"),
        (
            b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0",
            b"PK\x03\x04\x14\0",
        ),
        (b"7z\xbc\xaf\x27\x1c\0\x04", b"7z\xbc\xaf\x27"),
        (
            b"\x3a\xff\x26\xed\x01\0\0\0\x1c\0\x0c\0\0\x10\0\0",
            b"\x3a\xff\x26\xed\x01\0\0\0\x1c\0",
        ),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>", b"<!DOCTYPEhtml>"),
    ];
    for (good, bad) in cases {
        assert!(what(&sector(good)).is_some(), "{good:x?}");
        assert_eq!(what(&sector(bad)), None, "{bad:x?}");
    }
}

#[test]
fn a_frame_that_is_skipped_hides_nothing() {
    let skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd\x28\xb5\x2f\xfd\x04";
    assert_eq!(what(&sector(skipped)), Some("compressed with zstd"));
    // A frame that is longer than the head, and one after the other without an end.
    assert_eq!(what(&sector(b"\x50\x2a\x4d\x18\xff\xff\xff\xff")), None);
    assert_eq!(what(&b"\x50\x2a\x4d\x18\0\0\0\0".repeat(64)), None);
}

#[test]
fn the_hint_depends_on_whether_the_tool_knows_the_extension() {
    let hint = |head: &[u8], path: &str| recognised(&sector(head)).unwrap().hint(Path::new(path));
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03";
    assert_eq!(hint(gzip, "/a/d.raw.gz"), "gzip -dk /a/d.raw.gz");
    assert_eq!(hint(gzip, "/a/d.GZ"), "gzip -dk /a/d.GZ");
    assert_eq!(hint(gzip, "/a/d.tar.gz"), "tar -xf /a/d.tar.gz");
    assert_eq!(hint(gzip, "/a/d.tgz"), "tar -xf /a/d.tgz");
    assert_eq!(
        hint(gzip, "/a/d e"),
        "gzip -dc < '/a/d e' > '/a/d e-unpacked.img'"
    );
    assert_eq!(
        hint(gzip, "/a/d.raw"),
        "gzip -dc < /a/d.raw > /a/d-unpacked.img"
    );
    let zstd = b"\x28\xb5\x2f\xfd\x04";
    assert_eq!(hint(zstd, "/a/d.zst"), "zstd -d /a/d.zst");
    let sparse = b"\x3a\xff\x26\xed\x01\0\0\0\x1c\0\x0c\0\0\x10\0\0";
    assert_eq!(
        hint(sparse, "/a/d.img"),
        "simg2img /a/d.img /a/d-unpacked.img"
    );
}

/// A file's start as it is on disks: a boot sector with code and a partition table, zeros before
/// a superblock or a label of LVM, or nothing but the magic number of a filesystem.
fn disk() -> impl Strategy<Value = Vec<u8>> {
    let starts: [&[u8]; 12] = [
        b"\xeb\x63\x90\x10\x8e\xd0\xbc\0\xb0",
        b"\xeb\x3c\x90MSDOS5.0",
        b"\xeb\x58\x90mkfs.fat",
        b"\xeb\x52\x90NTFS    ",
        b"\xeb\x58\x90-FVE-FS-",
        b"\x33\xc0\x8e\xd0\xbc\0\x7c",
        b"\xfa\xfc\x31\xc0",
        b"XFSB",
        b"hsqs",
        b"LUKS\xba\xbe\0\x02",
        b"ER\x02\0",
        b"",
    ];
    let code = prop::collection::vec(any::<u8>(), 512);
    (prop::sample::select(starts.to_vec()), code, any::<bool>()).prop_map(
        |(start, mut code, is_blank)| {
            if is_blank {
                code.fill(0);
            }
            code[..start.len()].copy_from_slice(start);
            code[510..].copy_from_slice(b"\x55\xaa");
            code.resize(4096, 0);
            code[512..520].copy_from_slice(b"LABELONE");
            code[0x438..0x43a].copy_from_slice(b"\x53\xef");
            code
        },
    )
}

proptest! {
    #[test]
    fn the_start_of_a_disk_is_not_taken_for_packed(bytes in disk()) {
        prop_assert_eq!(recognised(&bytes), None);
    }

    /// 24 bits of the shortest magic number, and the fields behind it, do not come by chance.
    #[test]
    fn random_bytes_are_not_taken_for_packed(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(recognised(&bytes).is_none_or(|packed| packed.what.ends_with("compress")));
    }

    #[test]
    fn any_bytes_behind_a_signature_never_panic(
        nth in 0..KINDS.len(),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let start = [KINDS[nth].0, &bytes].concat();
        if let Some(packed) = recognised(&start) {
            prop_assert!(!packed.hint(Path::new("x")).is_empty());
        }
    }
}
