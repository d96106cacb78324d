//! A block device as the targets of block devices read it from their input.

use std::io;

use bivouac::block::device_reader::ReadAt;

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

/// Gives `examine` the input as a device of its own size, and as a sparse one.
pub fn devices(input: &[u8], examine: impl Fn(&dyn ReadAt)) {
    examine(&input);
    if let Some(sparse) = Sparse::new(input) {
        examine(&sparse);
    }
}
