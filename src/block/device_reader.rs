//! Reading bytes at an offset of a block device.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A device that can be read at any offset. An offset taken from a superblock is untrusted and
/// may lie beyond the end.
pub trait ReadAt {
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`; fails with `UnexpectedEof` beyond the end.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Reads up to `length` bytes at `offset`: fewer at the end of the device, none if reading
    /// fails.
    fn bytes_at(&self, offset: u64, length: usize) -> Vec<u8> {
        let available = self.size().saturating_sub(offset).min(length as u64);
        let mut bytes = vec![0; available as usize];
        match self.read_exact_at(offset, &mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }
}

#[derive(Debug)]
pub struct Device {
    pub file: File,
    /// The size in bytes; stat(2) does not know that of a block device.
    pub size: u64,
}

impl ReadAt for Device {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let found = start.and_then(|start| self.get(start..)?.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
