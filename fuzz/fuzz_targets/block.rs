//! Block devices as bytes: partition tables, superblocks, LVM and MD metadata, an fstab and an
//! mdadm.conf. The input is read in three ways: as text, as a device, and as a sparse device of any size, whose
//! parts it gives with their offsets.
#![no_main]

use std::io;

use bivouac::block::device_reader::ReadAt;
use bivouac::block::lvm::{group, label};
use bivouac::block::{fstab, mdadm_conf, raid, superblock, tables};
use libfuzzer_sys::fuzz_target;

/// The size in sectors of 512 bytes (u32), and then parts: the offset (u32), the length (u16), and
/// that many bytes. Everything else of the device is zero. Numbers are little-endian.
struct Sparse<'a> {
    size: u64,
    parts: Vec<(u64, &'a [u8])>,
}

impl<'a> Sparse<'a> {
    fn new(input: &'a [u8]) -> Option<Self> {
        let (size, mut rest) = input.split_first_chunk()?;
        let mut parts = Vec::new();
        while let Some((offset, after)) = rest.split_first_chunk()
            && let Some((length, after)) = after.split_first_chunk()
        {
            let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
            let (part, after) = after.split_at(length);
            parts.push((u64::from(u32::from_le_bytes(*offset)), part));
            rest = after;
        }
        Some(Self {
            size: u64::from(u32::from_le_bytes(*size)) * 512,
            parts,
        })
    }
}

impl ReadAt for Sparse<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        for (start, part) in &self.parts {
            let from = start.saturating_sub(offset) as usize;
            let skipped = offset.saturating_sub(*start) as usize;
            let part = part.get(skipped..).unwrap_or_default();
            let room = buffer.get_mut(from..).unwrap_or_default();
            let length = part.len().min(room.len());
            room[..length].copy_from_slice(&part[..length]);
        }
        Ok(())
    }
}

fn device(device: &dyn ReadAt) {
    if let Some(content) = superblock::probe(device) {
        let is_sane = |text: &String| !text.contains('\0') && text.len() <= 3072;
        assert!(content.label.iter().chain(&content.uuid).all(is_sane));
    }
    for sector in [512, 4096] {
        if let Some((_, entries)) = tables::read(device, sector, false) {
            assert!(entries.len() <= 4 * 256 + 4);
        }
    }
    if let Some(member) = raid::member(device) {
        assert!(is_file_name(&member.name()) && member.id.len() == 16);
    }
    if let Some(text) = label::metadata(device) {
        metadata(&text);
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != ".."
}

fn metadata(text: &str) {
    let Some(group) = group::parse(text) else {
        return;
    };
    assert!(is_file_name(&group.name) && group.volumes.len() <= 512);
    for volume in group.volumes {
        assert!(is_file_name(&volume.name));
        let mut end = 0;
        for segment in volume.segments.iter().flatten() {
            assert!(segment.start == end && segment.length > 0);
            assert!((1..=128).contains(&segment.stripes.len()));
            end = segment.start.checked_add(segment.length).expect("it ends");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    metadata(&text);
    let entries = fstab::parse(&text);
    assert!(entries.len() <= 128);
    for entry in entries {
        assert!(!entry.source.is_empty() && !entry.target.is_empty());
    }
    assert!(mdadm_conf::parse(&text).len() <= 128);
    device(&data);
    if let Some(sparse) = Sparse::new(data) {
        device(&sparse);
    }
});
