//! Headers made by hand; real ones from QEMU's tools are in the integration tests.

use super::*;
use proptest::prelude::*;

/// A vmdk with one descriptor, as many sectors long as it needs.
fn vmdk(descriptor: &str) -> Vec<u8> {
    let sectors = descriptor.len().div_ceil(512).max(1);
    let mut bytes = vec![0; 512 * (1 + sectors)];
    bytes[..4].copy_from_slice(b"KDMV");
    bytes[4] = 1;
    bytes[12..20].copy_from_slice(&2048_u64.to_le_bytes());
    bytes[20..28].copy_from_slice(&128_u64.to_le_bytes());
    bytes[28..36].copy_from_slice(&1_u64.to_le_bytes());
    bytes[36..44].copy_from_slice(&(sectors as u64).to_le_bytes());
    bytes[44..48].copy_from_slice(&512_u32.to_le_bytes());
    bytes[512..512 + descriptor.len()].copy_from_slice(descriptor.as_bytes());
    bytes
}

fn size(format: Format, bytes: &[u8]) -> Result<u64, FormatError> {
    virtual_size(format, bytes, bytes.len() as u64)
}

macro_rules! assert_refused {
    ($format:ident, $bytes:expr, $error:pat) => {
        let size = size(Format::$format, $bytes);
        assert!(matches!(size, Err($error)), "{size:?}");
    };
}

#[test]
fn a_vmdk_may_name_itself_under_an_old_name_and_nothing_else() {
    let good =
        "createType=\"monolithicSparse\"\nparentCID=ffffffff\nRW 2048 SPARSE \"old name.vmdk\"\n";
    assert_eq!(size(Format::Vmdk, &vmdk(good)).ok(), Some(1 << 20));
    let spread = good.replace("old name", "../other");
    assert_refused!(Vmdk, &vmdk(&spread), FormatError::VmdkNamesFile(_));
    let flat = good.replace("SPARSE", "FLAT");
    assert_refused!(Vmdk, &vmdk(&flat), FormatError::VmdkNamesFile(_));
    let odd = good
        .replace("createType", "CREATETYPE ")
        .replace("monolithicSparse", "custom");
    assert_refused!(Vmdk, &vmdk(&odd), FormatError::VmdkType(_));
    assert_refused!(Vmdk, &vmdk(""), FormatError::VmdkExtent);
}

#[test]
fn a_second_create_type_does_not_hide_behind_the_first() {
    let twice = "createType=\"monolithicSparse\"\ncreateType=\"monolithicFlat\"\n";
    assert_refused!(Vmdk, &vmdk(twice), FormatError::VmdkType(_));
}

#[test]
fn a_vmdk_descriptor_that_claims_to_be_huge_is_not_allocated() {
    let mut bytes = vmdk("createType=\"monolithicSparse\"\n");
    bytes[36..44].copy_from_slice(&(u64::MAX / 512).to_le_bytes());
    assert_refused!(Vmdk, &bytes, FormatError::Malformed { .. });
}

#[test]
fn sizes_that_overflow_are_refused() {
    let mut bytes = vec![0; 512];
    bytes[..16].copy_from_slice(b"WithouFreSpacExt");
    bytes[16] = 2;
    bytes[28] = 1;
    bytes[36..44].fill(0xff);
    assert_refused!(Parallels, &bytes, FormatError::DiskTooLarge);
    bytes[36..44].fill(0);
    assert_refused!(Parallels, &bytes, FormatError::NoDisk);
    bytes[16] = 3;
    assert_refused!(Parallels, &bytes, FormatError::Version { .. });
}

#[test]
fn every_format_says_when_its_signature_is_missing_or_the_file_is_short() {
    for format in Format::ALL {
        let zeroes = vec![0; 300 << 10];
        let error = size(format, &zeroes).expect_err("zeroes are no image");
        assert!(
            matches!(error, FormatError::NotThis(of) if of == format),
            "{error}"
        );
        if !matches!(format, Format::Raw | Format::Qcow2) {
            let error = size(format, b"").expect_err("nothing is no image");
            assert!(
                matches!(error, FormatError::Truncated(of) if of == format),
                "{error}"
            );
        }
    }
}

/// Bytes behind one of the signatures.
fn signed() -> impl Strategy<Value = Vec<u8>> {
    let signatures: [(usize, &[u8]); 7] = [
        (0, b"KDMV\x01\0\0\0"),
        (0, b"vhdxfile"),
        (0, b"conectix"),
        (0, b"QED\0"),
        (0, b"WithouFreSpacExt\x02\0\0\0"),
        (0x40, b"\x7f\x10\xda\xbe\x01\0\x01\0"),
        (0, b"# Disk DescriptorFile"),
    ];
    let bytes = prop::collection::vec(any::<u8>(), 100..3000);
    (prop::sample::select(signatures.to_vec()), bytes).prop_map(|((at, signature), mut bytes)| {
        bytes[at..at + signature.len()].copy_from_slice(signature);
        bytes
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_behind_a_signature_never_panic(bytes in signed()) {
        for format in Format::ALL {
            if let Ok(bytes) = size(format, &bytes) {
                prop_assert!(bytes > 0);
            }
        }
    }

    #[test]
    fn arbitrary_vmdk_descriptors_never_panic(text in "\\PC*") {
        let _ = size(Format::Vmdk, &vmdk(&text));
    }
}
