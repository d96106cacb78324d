//! Bytes at a place: a block device, or in a test a file or an array.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What can be read anywhere. Nobody trusts what is read: every place that a superblock names
/// may lie outside.
pub trait Blocks {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `at`.
    ///
    /// # Errors
    /// UnexpectedEof beyond the end; else what the device says.
    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// `length` bytes at `at`, or as many as there are; none where they cannot be read.
    fn some(&self, at: u64, length: usize) -> Vec<u8> {
        let there = self.size().saturating_sub(at).min(length as u64);
        let mut bytes = vec![0; there as usize];
        match self.read(at, &mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }
}

/// A device with the size that the kernel says.
#[derive(Debug)]
pub struct Device {
    /// Opened for reading.
    pub file: File,
    /// In bytes.
    pub size: u64,
}

impl Blocks for Device {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }
}

impl Blocks for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let found = from.and_then(|from| from.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Little-endian and big-endian fields of a block of bytes; 0 where it is too short.
pub trait Fields {
    /// Two bytes, little-endian.
    fn u16(&self, at: usize) -> u16;
    /// Four bytes, little-endian.
    fn u32(&self, at: usize) -> u32;
    /// Eight bytes, little-endian.
    fn u64(&self, at: usize) -> u64;
    /// Whether `what` stands there.
    fn has(&self, at: usize, what: &[u8]) -> bool;
    /// So many bytes; none where it is too short.
    fn part(&self, at: usize, length: usize) -> &[u8];
}

impl Fields for [u8] {
    fn u16(&self, at: usize) -> u16 {
        let found = self.get(at..).and_then(<[u8]>::first_chunk);
        found.map_or(0, |bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&self, at: usize) -> u32 {
        let found = self.get(at..).and_then(<[u8]>::first_chunk);
        found.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&self, at: usize) -> u64 {
        let found = self.get(at..).and_then(<[u8]>::first_chunk);
        found.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn has(&self, at: usize, what: &[u8]) -> bool {
        self.get(at..).is_some_and(|bytes| bytes.starts_with(what))
    }

    fn part(&self, at: usize, length: usize) -> &[u8] {
        let found = self.get(at..).and_then(|bytes| bytes.get(..length));
        found.unwrap_or_default()
    }
}
