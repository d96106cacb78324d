//! Each rule of the header, broken one at a time in a header that is right otherwise.

use super::super::HeaderError::*;
use super::super::{EmptyOverlay, Geometry, MAX_HEADER_AREA};
use super::*;
use crate::image::Format;
use proptest::prelude::*;
use std::io::Read;
use std::os::unix::fs::FileExt;

/// The first cluster that [`EmptyOverlay`] writes.
fn overlay(virtual_size: u64, backing: &[u8], geometry: Geometry) -> Vec<u8> {
    let file = tempfile::tempfile().expect("a file");
    let overlay = EmptyOverlay {
        virtual_size,
        backing_file: backing,
        backing_format: Format::Qcow2,
        geometry,
    };
    overlay.write_to(&file).expect("the geometry is allowed");
    let mut bytes = vec![0; 1 << geometry.cluster_bits];
    file.read_exact_at(&mut bytes, 0).expect("a whole cluster");
    bytes
}

/// A good header of version 3 with a backing file, to break.
fn good() -> Vec<u8> {
    overlay(1 << 30, b"/a/base.qcow2", Geometry::default())
}

/// The good header with bytes replaced.
fn with(at: usize, bytes: &[u8]) -> Result<Header, HeaderError> {
    let mut header = good();
    header[at..at + bytes.len()].copy_from_slice(bytes);
    Header::parse(&header)
}

fn assert_refused(header: Result<Header, HeaderError>, error: HeaderError) {
    assert_eq!(header, Err(error));
}

/// A header of version 2, which ends at byte 72.
fn version_2(extensions: &[u8]) -> Vec<u8> {
    let mut header = overlay(1 << 30, b"", Geometry::default());
    header[4..8].copy_from_slice(&2_u32.to_be_bytes());
    header[72..].fill(0);
    header[72..72 + extensions.len()].copy_from_slice(extensions);
    header
}

fn extension(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// A good header with an extension and some of the first eight incompatible features.
fn with_extension(kind: u32, data: &[u8], features: u8) -> Result<Header, HeaderError> {
    let mut header = overlay(1 << 30, b"", Geometry::default());
    let extension = extension(kind, data);
    header[112..112 + extension.len()].copy_from_slice(&extension);
    header[79] = features;
    Header::parse(&header)
}

#[test]
fn a_good_header_says_what_was_written() {
    let header = Header::parse(&good()).expect("it is good");
    assert_eq!(header.version, 3);
    assert_eq!(header.virtual_size, 1 << 30);
    let backing = header.backing.expect("it has one");
    assert_eq!(backing.name, b"/a/base.qcow2");
    assert_eq!(backing.format.as_deref(), Some(&b"qcow2"[..]));
}

#[test]
fn a_version_2_header_has_its_extensions_from_byte_72_and_no_feature_bits() {
    let header = Header::parse(&version_2(&extension(0xE279_2ACA, b"raw"))).expect("it is good");
    assert_eq!(header.version, 2);
    // What would be feature bits in version 3 is an extension's type in version 2.
    let mut odd = version_2(&extension(0x8000_0000, b"ignored"));
    assert!(Header::parse(&odd).is_ok());
    odd.truncate(72);
    assert_refused(Header::parse(&odd), Truncated);
}

#[test]
fn fixed_fields_out_of_their_bounds_are_refused_by_name() {
    let be32 = u32::to_be_bytes;
    let be64 = u64::to_be_bytes;
    assert_refused(with(0, b"QFI\0"), NotQcow2);
    assert_refused(with(4, &be32(1)), Version(1));
    assert_refused(with(4, &be32(4)), Version(4));
    for bits in [0, 8, 22, 63, u32::MAX] {
        assert_refused(with(20, &be32(bits)), ClusterBits(bits));
    }
    for length in [0, 72, 96, 105, 65544, u32::MAX] {
        assert_refused(with(100, &be32(length)), HeaderLength(length));
    }
    assert_refused(with(96, &be32(7)), RefcountOrder(7));
    assert_refused(with(24, &be64(0)), NoDisk);
    assert_refused(with(24, &be64(u64::MAX)), DiskTooLarge(u64::MAX));
    for method in [1, 2, 9] {
        assert_refused(with(32, &be32(method)), Encrypted(method));
    }
}

#[test]
fn tables_that_qemu_would_allocate_are_bounded() {
    let be32 = u32::to_be_bytes;
    let l1 = |entries| Err(L1Size { entries, needed: 2 });
    assert_eq!(with(36, &be32(1)), l1(1));
    assert_eq!(with(36, &be32((4 << 20) + 1)), l1((4 << 20) + 1));
    assert_eq!(with(36, &be32(u32::MAX)), l1(u32::MAX));
    assert_refused(with(56, &be32(0)), RefcountTableSize(0));
    assert_refused(with(56, &be32(129)), RefcountTableSize(129));
    assert_refused(with(60, &be32(65537)), Snapshots(65537));
    let misplaced = |at, table, offset: u64| {
        let refusal = TableOffset { table, offset };
        assert_refused(with(at, &offset.to_be_bytes()), refusal);
    };
    misplaced(64, "snapshot table", 1);
    for offset in [0, 1, 65535, 1 << 63] {
        misplaced(40, "L1 table", offset);
        misplaced(48, "refcount table", offset);
    }
}

#[test]
fn incompatible_features_are_judged_one_by_one() {
    let bits = |bits: u64| with(72, &bits.to_be_bytes());
    assert!(bits(1 << 0).is_ok_and(|header| header.dirty && !header.corrupt));
    assert!(bits(1 << 1).is_ok_and(|header| header.corrupt));
    assert_refused(bits(1 << 2), ExternalDataFile { name: None });
    assert_refused(bits(1 << 3), CompressionType(0));
    // With L2 entries twice as long, the L1 table that was right spans half of the disk.
    let (entries, needed) = (2, 4);
    assert_refused(bits(1 << 4), L1Size { entries, needed });
    let unknown = UnknownFeatures(vec!["incompatible bit 63".into()]);
    assert_refused(bits(1 << 63), unknown);
}

#[test]
fn an_unknown_feature_has_the_name_that_the_image_gives_it() {
    let mut record = vec![0, 5];
    record.extend(b"time travel\x1b[m");
    record.resize(48, 0);
    let error = with_extension(0x6803_F857, &record, 1 << 5).expect_err("the feature is unknown");
    let named = r#""time travel\u{1b}[m" (incompatible bit 5)"#;
    assert!(error.to_string().contains(named), "{error}");
}

#[test]
fn an_external_data_file_is_named() {
    let header = with_extension(0x4441_5441, b"/etc/shadow", 1 << 2);
    let name = Some(b"/etc/shadow".to_vec());
    assert_refused(header, ExternalDataFile { name });
}

#[test]
fn zstd_is_fine_and_other_compression_is_not() {
    let mut header = good();
    header[79] = 1 << 3;
    header[104] = 1;
    assert!(Header::parse(&header).is_ok());
    header[79] = 0;
    assert_refused(Header::parse(&header), CompressionType(1));
    header[104] = 2;
    assert_refused(Header::parse(&header), CompressionType(2));
}

#[test]
fn subclusters_need_clusters_of_16_kib() {
    let geometry = Geometry {
        cluster_bits: 13,
        ..Geometry::default()
    };
    let mut header = overlay(1 << 30, b"", geometry);
    header[79] = 1 << 4;
    assert_refused(Header::parse(&header), SubclusterSize(13));
}

#[test]
fn extensions_stay_inside_the_header_and_appear_once() {
    let kind = 0x1234_5678;
    let twice = [extension(kind, b"a"), extension(kind, b"b")].concat();
    assert_refused(
        Header::parse(&version_2(&twice)),
        DuplicateExtension { kind },
    );

    let mut long = extension(kind, b"");
    long[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    let length = u32::MAX as usize;
    assert_refused(
        Header::parse(&version_2(&long)),
        ExtensionTooLong { kind, length },
    );

    // The end marker's length counts as well, as it does for QEMU.
    let end = [[0; 4], [0xff; 4]].concat();
    let refusal = ExtensionTooLong { kind: 0, length };
    assert_refused(Header::parse(&version_2(&end)), refusal);

    let format = extension(0xE279_2ACA, b"sixteen bytes ok");
    let refusal = FormatNameTooLong { length: 16 };
    assert_refused(Header::parse(&version_2(&format)), refusal);
}

#[test]
fn backing_names_stay_between_the_header_and_the_cluster_end() {
    let be64 = u64::to_be_bytes;
    let be32 = u32::to_be_bytes;
    assert_refused(with(16, &be32(1024)), BackingNameTooLong(1024));
    assert_refused(with(16, &be32(u32::MAX)), BackingNameTooLong(u32::MAX));
    assert_refused(with(16, &be32(0)), BackingNameEmpty(136));
    assert_refused(with(8, &be64(0)), BackingNameEmpty(0));
    for offset in [1, 111, 65535, u64::MAX] {
        assert_refused(with(8, &be64(offset)), BackingNameOutside(offset));
    }
    assert_refused(with(138, b"\0"), BackingNameNul);
}

#[test]
fn a_header_that_goes_on_behind_the_bytes_asks_for_more() {
    let header = good();
    for length in 4..149 {
        let short = Header::parse(&header[..length]);
        assert_eq!(short, Err(Truncated), "{length}");
    }
    assert!(Header::parse(&header[..149]).is_ok());
}

/// A header that is right, with some of its bytes replaced, most of them in the fixed part.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        prop_oneof![4 => 0_usize..160, 1 => 160_usize..4096],
        any::<u8>(),
    );
    (
        any::<bool>(),
        prop::collection::vec(edit, 0..12),
        0_usize..4096,
    )
        .prop_map(|(old, edits, length)| {
            let mut header = match old {
                true => version_2(&extension(0xE279_2ACA, b"raw")),
                false => good(),
            };
            header.truncate(4096);
            for (at, byte) in edits {
                header[at] = byte;
            }
            // Half of them are cut off as well.
            header.truncate(if length % 2 == 0 { 4096 } else { length });
            header
        })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..8192)) {
        let _ = Header::parse(&bytes);
    }

    #[test]
    fn mutated_headers_never_panic_and_keep_the_limits(bytes in mutated()) {
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert!((9..=21).contains(&header.cluster_bits));
            prop_assert!(header.virtual_size > 0);
            if let Some(backing) = header.backing {
                prop_assert!((1..=1023).contains(&backing.name.len()));
                prop_assert!(!backing.name.contains(&0));
                prop_assert!(backing.format.is_none_or(|format| format.len() < 16));
            }
        }
    }

    #[test]
    fn an_overlay_that_was_written_reads_back(
        sectors in 1_u64..=(64 << 40) / 512,
        odd in 0_u64..512,
        name in prop::collection::vec(1_u8.., 0..1100),
        cluster_bits in 9_u32..=21,
        extended_l2: bool,
    ) {
        let geometry = Geometry { cluster_bits, extended_l2 };
        let virtual_size = sectors * 512 - odd;
        let file = tempfile::tempfile()?;
        let overlay = EmptyOverlay {
            virtual_size,
            backing_file: &name,
            backing_format: Format::Raw,
            geometry,
        };
        match overlay.write_to(&file) {
            Ok(()) => {
                let mut bytes = Vec::new();
                file.take(MAX_HEADER_AREA as u64).read_to_end(&mut bytes)?;
                let header = Header::parse(&bytes)?;
                prop_assert_eq!(header.virtual_size, virtual_size.next_multiple_of(512));
                prop_assert_eq!(header.cluster_bits, cluster_bits);
                prop_assert_eq!(header.extended_l2, extended_l2);
                match header.backing {
                    Some(backing) => {
                        prop_assert_eq!(&backing.name, &name);
                        prop_assert_eq!(backing.format.as_deref(), Some(&b"raw"[..]));
                    }
                    None => prop_assert!(name.is_empty() || name.len() > 300),
                }
            }
            // Only what the format cannot express is refused.
            Err(_) => {
                let entry = (1_u64 << cluster_bits) >> if extended_l2 { 4 } else { 3 };
                let limit = (4 << 20) * (entry << cluster_bits);
                prop_assert!(virtual_size > limit || (extended_l2 && cluster_bits < 14));
            }
        }
    }
}
