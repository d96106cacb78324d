//! Digests of the content of files: SHA-256, and one that is fast in an emulated guest.

use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::streams::{Direct, direct};
use crate::protocol::{DigestKey, DigestKind};

/// What is left out of a keyed digest if it is zero, in bytes.
const BLOCK: usize = 64 << 10;

/// What is read at a time, in bytes.
const READ: usize = 16 * BLOCK;

/// The size in bytes from which a file is read directly. That saves the copy and the kernel's work for each page
/// of its cache, but the kernel reads nothing ahead.
pub(super) const DIRECT: i64 = 256 << 10;

/// What direct reads need memory to begin at a multiple of, in bytes.
const ALIGNMENT: usize = 4096;

/// Computes digests with one key.
pub(super) struct Digests {
    key: DigestKey,
    /// Empty until a file is read.
    memory: Vec<u8>,
}

impl Digests {
    pub(super) fn new(key: DigestKey) -> Self {
        Self {
            key,
            memory: Vec::new(),
        }
    }

    /// The digest of the `length` bytes of a regular file, in hexadecimal digits. They may be known.
    pub(super) fn of(
        &mut self,
        file: &File,
        length: u64,
        content: Option<&[u8]>,
        kind: DigestKind,
    ) -> Result<Option<String>, Errno> {
        if content.is_none() && self.memory.is_empty() {
            self.memory = vec![0; READ + ALIGNMENT];
        }
        let begin = self.memory.as_ptr().align_offset(ALIGNMENT);
        let mut reader = Reader {
            file,
            length,
            content,
            is_direct: content.is_none()
                && length >= DIRECT as u64
                && direct(file, true) == Direct::Used,
            buffer: self.memory.get_mut(begin..begin + READ).unwrap_or_default(),
        };
        let digest = match kind {
            DigestKind::Nothing => return Ok(None),
            DigestKind::Keyed => reader.keyed(&self.key),
            DigestKind::Sha256 => reader.sha256(),
        };
        let digest = digest.map_err(|error| crate::sys::errno_of(&error))?;
        Ok(Some(hexadecimal(&digest)))
    }
}

struct Reader<'a> {
    file: &'a File,
    length: u64,
    /// All of it, if that was read already.
    content: Option<&'a [u8]>,
    is_direct: bool,
    buffer: &'a mut [u8],
}

impl Reader<'_> {
    fn sha256(&mut self) -> io::Result<Vec<u8>> {
        let mut hash = Sha256::new();
        let mut offset = 0;
        while offset < self.length {
            hash.update(self.read(offset)?);
            offset += READ as u64;
        }
        Ok(hash.finalize().to_vec())
    }

    /// SipHash-2-4-128 of each block that is not zero, with its offset and length, and of the file's length.
    /// It does not depend on where the file has holes.
    fn keyed(&mut self, key: &DigestKey) -> io::Result<Vec<u8>> {
        let mut hash = SipHasher24::new_with_key(key);
        let mut next = 0;
        while next < self.length {
            let offset = next;
            let read = self.read(offset)?;
            let mut ends_in_zeros = false;
            for (offset, block) in (offset..).step_by(BLOCK).zip(read.chunks(BLOCK)) {
                ends_in_zeros = is_zero(block);
                if !ends_in_zeros {
                    hash.write_u64(offset);
                    hash.write_u64(block.len() as u64);
                    hash.write(block);
                }
            }
            next = offset + READ as u64;
            if ends_in_zeros && next < self.length {
                next = next_data(self.file, next).unwrap_or(self.length);
            }
        }
        hash.write_u64(u64::MAX);
        hash.write_u64(self.length);
        Ok(hash.finish128().as_bytes().to_vec())
    }

    /// What begins at `offset`: the buffer full, or what is left of the file.
    fn read(&mut self, offset: u64) -> io::Result<&[u8]> {
        let left = usize::try_from(self.length - offset).unwrap_or(READ);
        let wanted = left.min(READ);
        if let Some(content) = self.content {
            return Ok(content
                .get(content.len().saturating_sub(left)..)
                .unwrap_or_default());
        }
        let mut count = 0;
        while count < wanted {
            // A direct read is of whole blocks.
            let end = if self.is_direct { READ } else { wanted };
            let buffer = &mut self.buffer[count..end];
            match self.file.read_at(buffer, offset + count as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => count += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Not every filesystem can, nor for every file.
                Err(_) if self.is_direct => {
                    self.is_direct = false;
                    direct(self.file, false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[..wanted])
    }
}

/// The block of the next data from `offset` on, or `None` if only a hole is left. Of a filesystem that does not
/// know, `offset`.
fn next_data(file: &File, offset: u64) -> Option<u64> {
    let from = i64::try_from(offset).ok()?;
    match lseek(file, from, Whence::SeekData) {
        Ok(data) => Some((data.unsigned_abs() / BLOCK as u64 * BLOCK as u64).max(offset)),
        Err(Errno::ENXIO) => None,
        Err(_) => Some(offset),
    }
}

fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<8>();
    words.iter().all(|word| *word == [0; 8]) && rest.iter().all(|byte| *byte == 0)
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn digest(key: DigestKey, file: &File, kind: DigestKind) -> String {
        let length = file.metadata().unwrap().len();
        Digests::new(key)
            .of(file, length, None, kind)
            .unwrap()
            .unwrap()
    }

    fn keyed(file: &File) -> String {
        digest([1; 16], file, DigestKind::Keyed)
    }

    /// A file of `length` bytes with these pieces.
    fn file(length: u64, pieces: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile_in("/var/tmp").unwrap();
        file.set_len(length).unwrap();
        for (offset, piece) in pieces {
            file.write_all_at(piece, *offset).unwrap();
        }
        file
    }

    #[test]
    fn holes_and_zeros_are_the_same() {
        let data = (3 * MIB + 5, &b"data"[..]);
        let sparse = file(8 * MIB + 1, &[data]);
        let zeros = vec![0; 8 * MIB as usize + 1];
        let full = file(8 * MIB + 1, &[(0, &zeros), data]);
        assert!(sparse.metadata().unwrap().blocks() < full.metadata().unwrap().blocks());
        assert_eq!(keyed(&sparse), keyed(&full));
    }

    #[test]
    fn every_byte_its_place_and_the_length_count() {
        let files = [
            file(0, &[]),
            file(1, &[]),
            file(MIB, &[]),
            file(MIB + 1, &[]),
            file(MIB, &[(MIB - 1, b"x")]),
            file(MIB, &[(0, b"x")]),
            file(MIB, &[(1, b"x")]),
            file(MIB, &[(BLOCK as u64, b"x")]),
            file(MIB, &[(0, b"x"), (BLOCK as u64, b"x")]),
            file(MIB, &[(0, b"y")]),
            file(MIB, &[(READ as u64 - 1, b"z")]),
            file(3 * MIB, &[(READ as u64, b"x")]),
            file(3 * MIB, &[(READ as u64 - 1, b"x")]),
            file(BLOCK as u64, &[(0, b"x")]),
            file(BLOCK as u64 + 1, &[(0, b"x")]),
        ];
        let found: std::collections::HashSet<_> = files.iter().map(keyed).collect();
        assert_eq!(found.len(), files.len());
    }

    #[test]
    fn another_key_gives_another_digest() {
        let file = file(10, &[(3, b"x")]);
        let keyed = |key| digest(key, &file, DigestKind::Keyed);
        assert_ne!(keyed([1; 16]), keyed([2; 16]));
    }

    #[test]
    fn sha256_is_that_of_the_whole_file() {
        for length in [0, 5, READ, 3 * READ + 5] {
            let mut bytes = vec![7; length];
            bytes[length / 3..length / 2].fill(0);
            let file = file(0, &[(0, &bytes)]);
            let found = digest([1; 16], &file, DigestKind::Sha256);
            assert_eq!(found, hexadecimal(&Sha256::digest(&bytes)));
        }
    }
}
