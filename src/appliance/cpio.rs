//! Writes a cpio archive in the format "newc", which the kernel unpacks as its first root
//! filesystem (Documentation/driver-api/early-userspace/buffer-format.rst). Reproducible: it holds
//! no time, user or inode number of this host.

use std::io::{self, Write};

#[derive(Debug)]
pub(super) struct Archive<W> {
    out: W,
    /// Numbers the entries: the kernel takes files with the same number and several links for hard
    /// links.
    entries: u32,
    written: u64,
}

/// The type bits of a mode, as stat(2) has them.
const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;
/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            entries: 0,
            written: 0,
        }
    }

    /// Adds a directory. Its parents must be there already.
    pub(super) fn directory(&mut self, name: &str, permissions: u32) -> io::Result<()> {
        self.entry(name, DIRECTORY | permissions, (0, 0), 0)
    }

    pub(super) fn character_device(
        &mut self,
        name: &str,
        permissions: u32,
        (major, minor): (u32, u32),
    ) -> io::Result<()> {
        self.entry(name, CHARACTER_DEVICE | permissions, (major, minor), 0)
    }

    /// Adds a file. InvalidInput if it has 4 GiB or more.
    pub(super) fn file(&mut self, name: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.entry(name, REGULAR | permissions, (0, 0), size)?;
        self.out.write_all(content)?;
        self.written += u64::from(size);
        self.pad()
    }

    /// Ends the archive. Returns `out` and the archive's size in bytes.
    pub(super) fn finish(mut self) -> io::Result<(W, u64)> {
        // cpio(1) writes 0 as the trailer's number.
        self.entries = 0;
        self.header(TRAILER, 0, 1, (0, 0), 0)?;
        self.out.flush()?;
        Ok((self.out, self.written))
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), size: u32) -> io::Result<()> {
        self.entries += 1;
        let links = if mode & DIRECTORY != 0 { 2 } else { 1 };
        self.header(name, mode, links, device, size)
    }

    fn header(
        &mut self,
        name: &str,
        mode: u32,
        links: u32,
        (major, minor): (u32, u32),
        size: u32,
    ) -> io::Result<()> {
        let name_size = u32::try_from(name.len() + 1).map_err(|_| io::ErrorKind::InvalidInput)?;
        // ino, mode, uid, gid, nlink, mtime, filesize, maj, min, rmaj, rmin, namesize, chksum
        let (number, zero) = (self.entries, "00000000");
        let header = format!(
            "070701{number:08X}{mode:08X}{zero}{zero}{links:08X}{zero}{size:08X}{zero}{zero}\
             {major:08X}{minor:08X}{name_size:08X}{zero}{name}\0"
        );
        self.out.write_all(header.as_bytes())?;
        self.written += header.len() as u64;
        self.pad()
    }

    /// A header with its name, and a content, each end at a multiple of 4.
    fn pad(&mut self) -> io::Result<()> {
        let excess = self.written % 4;
        if excess != 0 {
            let zeros = &[0; 4][..4 - excess as usize];
            self.out.write_all(zeros)?;
            self.written += zeros.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_these_very_bytes() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("dev", 0o755).unwrap();
        archive
            .character_device("dev/console", 0o600, (5, 1))
            .unwrap();
        archive.file("a", 0o644, b"hello").unwrap();
        let (bytes, size) = archive.finish().unwrap();
        assert_eq!(bytes.len() as u64, size);
        let expected = concat!(
            "070701000000010000",
            "41ED00000000000000000000000200000000000000000000000000000000000000000000000000000004",
            "00000000dev\0\0\0",
            "070701000000020000",
            "21800000000000000000000000010000000000000000000000000000000000000005000000010000000C",
            "00000000dev/console\0\0\0",
            "070701000000030000",
            "81A400000000000000000000000100000000000000050000000000000000000000000000000000000002",
            "00000000a\0hello\0\0\0",
            "070701000000000000",
            "00000000000000000000000000010000000000000000000000000000000000000000000000000000000B",
            "00000000TRAILER!!!\0\0\0\0",
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn every_part_begins_at_a_multiple_of_four() {
        for length in 0..9 {
            let mut archive = Archive::new(Vec::new());
            let name = "n".repeat(length + 1);
            archive.file(&name, 0o644, &vec![b'x'; length]).unwrap();
            archive.directory("d", 0o755).unwrap();
            let (bytes, _) = archive.finish().unwrap();
            let starts: Vec<_> = (0..bytes.len() - 6)
                .filter(|at| bytes[*at..].starts_with(b"070701"))
                .collect();
            assert_eq!(starts.len(), 3);
            assert!(starts.iter().all(|at| at % 4 == 0) && bytes.len() % 4 == 0);
        }
    }
}
