//! Superblocks, partition tables and metadata made to break their parsers.

use proptest::prelude::*;

use super::device_reader::ReadAt;
use super::lvm::{config, group, label};
use super::{raid, superblock, tables};

const SIGNATURES: &[(usize, &[u8])] = &[
    (0, b"LUKS\xba\xbe\0\x02"),
    (512, b"LABELONE"),
    (536, b"LVM2 001"),
    (0, b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
    (4096, b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
    (0, b"XFSB"),
    (0, b"hsqs"),
    (0x438, b"\x53\xef"),
    (0x1_0040, b"_BHRfS_M"),
    (1024, b"\x10\x20\xf5\xf2"),
    (1024, b"\xe2\xe1\xf5\xe0"),
    (4086, b"SWAPSPACE2"),
    (3, b"NTFS    "),
    (3, b"EXFAT   "),
    (32768, b"\x01CD001\x01"),
    (34816, b"\0NSR02"),
    (510, b"\x55\xaa"),
    (512, b"\x57\x45\x56\x82"),
    (508, b"\xda\xbe"),
    (0, b"\x0b\xe5\xa9\x41"),
    (0, b"ER\x02\0"),
    (512, b"PM"),
    (0, b"RDSK"),
    (1024, b"H+\0\x04"),
    (1024, b"BD"),
    (32768, b"JFS1"),
    (0x1_0034, b"ReIsEr2Fs"),
    (4086, b"S1SUSPEND"),
    (512, b"EFI PART"),
    (4096 + 4, b" LVM2 x[5A%r0N*>"),
];

/// A device of noise with some signatures on it; sometimes cut short.
fn device() -> impl Strategy<Value = Vec<u8>> {
    let marks = prop::collection::vec(prop::sample::select(SIGNATURES), 0..4);
    let noise = prop::collection::vec(any::<u8>(), 1..512);
    (marks, noise, 0_usize..140_000).prop_map(|(marks, noise, length)| {
        let mut bytes: Vec<u8> = noise.into_iter().cycle().take(length).collect();
        for (at, mark) in marks {
            if let Some(place) = bytes.get_mut(at..at + mark.len()) {
                place.copy_from_slice(mark);
            }
        }
        bytes
    })
}

/// A physical volume whose text begins at `offset` in the ring buffer of an area of `size` at 4096.
fn physical_volume(text: &[u8], offset: u64, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096 + size as usize];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(512, b"LABELONE");
    put(512 + 20, &32_u32.to_le_bytes());
    put(512 + 24, b"LVM2 001");
    put(512 + 32, b"abcdefghijklmnopqrstuvwxyz012345");
    // One data area, the end of that list, one metadata area.
    put(512 + 72, &(1_u64 << 20).to_le_bytes());
    put(512 + 104, &4096_u64.to_le_bytes());
    put(512 + 112, &size.to_le_bytes());
    put(4096 + 4, b" LVM2 x[5A%r0N*>");
    put(4096 + 40, &offset.to_le_bytes());
    put(4096 + 48, &(text.len() as u64).to_le_bytes());
    for (index, byte) in text.iter().enumerate() {
        let ring = size - 512;
        let at = 512 + (offset - 512 + index as u64) % ring;
        put(4096 + at as usize, &[*byte]);
    }
    bytes
}

#[test]
fn a_raid_superblock_that_is_cut_short_is_ignored() {
    let mut device = vec![0; 256];
    device[..8].copy_from_slice(b"\xfc\x4e\x2b\xa9\x01\0\0\0");
    assert!(raid::member(&&device[..]).is_some());
    assert!(raid::member(&&device[..27]).is_none());
}

#[test]
fn a_gpt_whose_device_ends_in_its_header_is_no_table() {
    let mut device = vec![0; 512 + 18];
    device[512..520].copy_from_slice(b"EFI PART");
    device[512 + 12] = 92;
    assert!(
        tables::read(&&device[..], 512, false)
            .unwrap()
            .partitions
            .is_empty()
    );
}

#[test]
fn names_end_at_a_nul() {
    let mut disk = vec![0; 2048];
    disk[..4].copy_from_slice(b"RDSK");
    disk[18..20].copy_from_slice(&512_u16.to_be_bytes());
    disk[31] = 1;
    disk[512..516].copy_from_slice(b"PART");
    disk[512 + 16..512 + 20].fill(0xff);
    disk[512 + 36..512 + 40].copy_from_slice(b"\x03D\0H");
    for (field, number) in [(1, 128_u32), (3, 1), (5, 1), (9, 1), (10, 1)] {
        let at = 512 + 128 + field * 4;
        disk[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    let table = tables::read(&&disk[..], 512, false).unwrap();
    assert_eq!(table.partitions[0].label.as_deref(), Some("D"));
}

#[test]
fn lvm_metadata_wraps_at_the_end_of_its_ring_buffer() {
    let text = b"vg { id = \"x\" }";
    for offset in [512, 1000, 2040, 2047] {
        let device = physical_volume(text, offset, 2048);
        let found = label::metadata(&&device[..]);
        assert_eq!(found.as_deref(), Some("vg { id = \"x\" }"), "{offset}");
    }
    let device = physical_volume(text, 512, 2048);
    assert_eq!(
        label::identifier(&device[512..]).as_deref(),
        Some("abcdef-ghij-klmn-opqr-stuv-wxyz-012345")
    );
}

#[test]
fn lvm_metadata_with_a_wrong_offset_or_size_is_ignored() {
    let device = physical_volume(b"vg {}", 512, 2048);
    for (at, value) in [
        (4096 + 40, u64::MAX),
        (4096 + 40, 0),
        (4096 + 48, u64::MAX),
        (4096 + 48, 0),
        (512 + 104, u64::MAX),
        (512 + 112, 100),
    ] {
        let mut device = device.clone();
        device[at..at + 8].copy_from_slice(&value.to_le_bytes());
        assert_eq!(label::metadata(&&device[..]), None, "{at} {value}");
    }
}

proptest! {
    #[test]
    fn any_device_can_be_probed_without_a_panic(device in device()) {
        let device = &&device[..];
        if let Some(content) = superblock::probe(device) {
            let label = content.label.unwrap_or_default();
            prop_assert!(!label.contains('\0') && label.len() <= 2048);
        }
        if let Some(member) = raid::member(device) {
            prop_assert_eq!(member.id.len(), 16);
        }
        label::metadata(device);
        for sector in [512, 4096] {
            if let Some(table) = tables::read(device, sector, false) {
                prop_assert!(table.partitions.len() <= 255);
                for part in table.partitions {
                    let texts = [part.kind, part.label, part.uuid];
                    prop_assert!(!texts.into_iter().flatten().any(|text| text.contains('\0')));
                }
            }
        }
    }

    #[test]
    fn a_gpt_with_any_numbers_is_read_within_bounds(
        first in any::<u64>(), count in any::<u32>(), size in any::<u32>(), noise in any::<u8>()
    ) {
        let mut device = vec![noise; 64 * 1024];
        device[512..520].copy_from_slice(b"EFI PART");
        device[512 + 72..512 + 80].copy_from_slice(&(first % 200).to_le_bytes());
        device[512 + 80..512 + 84].copy_from_slice(&count.to_le_bytes());
        device[512 + 84..512 + 88].copy_from_slice(&(128 + size % 5000).to_le_bytes());
        let checksums = |device: &mut [u8]| {
            device[512 + 12..512 + 16].copy_from_slice(&92_u32.to_le_bytes());
            device[512 + 16..512 + 20].fill(0);
            device[512 + 24..512 + 32].copy_from_slice(&1_u64.to_le_bytes());
            let sum = crc32fast::hash(&device[512..512 + 92]);
            device[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
        };
        checksums(&mut device);
        tables::read(&&device[..], 512, false);
        device[512 + 72..512 + 80].copy_from_slice(&first.to_le_bytes());
        checksums(&mut device);
        tables::read(&&device[..], 512, false);
        prop_assert_eq!((&device[..]).bytes_at(u64::MAX, usize::MAX).len(), 0);
    }

    #[test]
    fn any_text_parses_as_lvm_metadata_without_a_panic(
        parts in prop::collection::vec(prop::sample::select(vec![
            "vg", "{", "}", "=", "[", "]", "\"", "\\", "pv0", ",", " ", "\n", "#", "-1",
            "99999999999999999999", "18446744073709551615", "physical_volumes", "extent_size",
            "logical_volumes", "segment1", "type", "striped", "stripes", "é",
        ]), 0..80)
    ) {
        let text = parts.concat();
        config::parse(&text);
        group::parse(&text);
    }

    #[test]
    fn segments_with_any_numbers_are_refused_or_fit_in_64_bits(
        extent in any::<u32>(), start in any::<u64>(), count in any::<u64>(), at in any::<u64>()
    ) {
        let text = format!(
            "vg {{ id = \"v\" extent_size = {extent}\n physical_volumes {{ pv0 {{ id = \"p\" \
             pe_start = {at} }} }} logical_volumes {{ lv {{ id = \"l\" status = [\"VISIBLE\"] \
             segment1 {{ start_extent = {start} extent_count = {count} type = \"striped\" \
             stripes = [\"pv0\", {at}] }} }} }} }}"
        );
        if let Some(group) = group::parse(&text) {
            for segment in group.volumes.iter().flat_map(|lv| lv.segments.iter().flatten()) {
                prop_assert!(segment.start.checked_add(segment.length).is_some());
            }
        }
    }
}
