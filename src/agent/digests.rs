//! Digests of the content of files: SHA-256, and one that is fast in an emulated guest.

use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::protocol::{DigestKey, DigestKind};

/// What is read at a time, and left out of a keyed digest if it is zero, in bytes.
const BLOCK: usize = 64 << 10;

/// Computes digests with one key.
pub(super) struct Digests {
    key: DigestKey,
    block: Vec<u8>,
}

impl Digests {
    pub(super) fn new(key: DigestKey) -> Self {
        Self {
            key,
            block: vec![0; BLOCK],
        }
    }

    /// The digest of a regular file, in hexadecimal digits.
    pub(super) fn of(&mut self, file: &File, kind: DigestKind) -> Result<Option<String>, Errno> {
        let digest = match kind {
            DigestKind::Nothing => return Ok(None),
            DigestKind::Keyed => self.keyed(file),
            DigestKind::Sha256 => self.sha256(file),
        };
        let digest = digest.map_err(|error| crate::sys::errno_of(&error))?;
        Ok(Some(digest))
    }

    fn sha256(&mut self, file: &File) -> io::Result<String> {
        let mut hash = Sha256::new();
        let mut offset = 0;
        loop {
            match read_at(file, &mut self.block, offset)? {
                0 => return Ok(hexadecimal(&hash.finalize())),
                count => hash.update(&self.block[..count]),
            }
            offset += BLOCK as u64;
        }
    }

    /// SipHash-2-4-128 of each block that is not zero, with its offset and length, and of the file's length.
    /// It does not depend on where the file has holes.
    fn keyed(&mut self, file: &File) -> io::Result<String> {
        let mut hash = SipHasher24::new_with_key(&self.key);
        let mut offset = 0;
        let length = loop {
            let count = read_at(file, &mut self.block, offset)?;
            let block = &self.block[..count];
            let is_zero = is_zero(block);
            if !is_zero {
                hash.write_u64(offset);
                hash.write_u64(count as u64);
                hash.write(block);
            }
            if count < BLOCK {
                break offset + count as u64;
            }
            offset += BLOCK as u64;
            if is_zero {
                match next_data(file, offset) {
                    Some(data) => offset = data,
                    None => break file.metadata()?.len(),
                }
            }
        };
        hash.write_u64(u64::MAX);
        hash.write_u64(length);
        Ok(hexadecimal(&hash.finish128().as_bytes()))
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

/// As many bytes as there are.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], offset + count as u64) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn keyed(file: &File) -> String {
        let digest = Digests::new([1; 16]).of(file, DigestKind::Keyed);
        digest.unwrap().unwrap()
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
            file(BLOCK as u64, &[(0, b"x")]),
            file(BLOCK as u64 + 1, &[(0, b"x")]),
        ];
        let found: std::collections::HashSet<_> = files.iter().map(keyed).collect();
        assert_eq!(found.len(), files.len());
    }

    #[test]
    fn another_key_gives_another_digest() {
        let file = file(10, &[(3, b"x")]);
        let digest = |key| Digests::new(key).of(&file, DigestKind::Keyed).unwrap();
        assert_ne!(digest([1; 16]), digest([2; 16]));
    }

    #[test]
    fn sha256_is_that_of_the_whole_file() {
        let mut bytes = vec![7; 3 * BLOCK + 5];
        bytes[BLOCK..2 * BLOCK].fill(0);
        let file = file(0, &[(0, &bytes)]);
        let digest = Digests::new([1; 16]).of(&file, DigestKind::Sha256).unwrap();
        assert_eq!(digest, Some(hexadecimal(&Sha256::digest(&bytes))));
    }
}
