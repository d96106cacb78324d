//! The pages of a guest's memory that it has written since it was restored. QEMU maps the memory's
//! file privately, so they are those of its mapping that are no longer pages of the file (proc(5),
//! `/proc/PID/pagemap`), and only QEMU's own memory has them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

const PAGE: u64 = 4096;

/// Bits of an entry of a pagemap (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

/// How many entries of the pagemap are read at once: for 64 MiB of memory.
const ENTRIES: u64 = 16 << 10;

/// How much memory is copied at once, in bytes: what stays in a processor's cache.
const WINDOW: usize = 512 << 10;

/// How many ranges of memory one call may read (IOV_MAX of <linux/uio.h>).
const RANGES: usize = 1024;

/// A part of the file in QEMU's address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub address: u64,
    pub length: u64,
    /// In the file.
    pub offset: u64,
}

/// Where a process has mapped the file of its guest's memory.
#[derive(Debug)]
pub struct WrittenPages {
    process: Pid,
    pagemap: File,
    mappings: Vec<Mapping>,
}

impl WrittenPages {
    /// Fails with [`ErrorKind::PermissionDenied`] if this process may not read the memory of `process`, its child.
    pub fn of(process: u32, memory: &File) -> io::Result<Self> {
        Ok(Self {
            process: Pid::from_raw(process.cast_signed()),
            pagemap: File::open(format!("/proc/{process}/pagemap"))?,
            mappings: mappings(process, memory)?,
        })
    }

    /// Copies the written pages to their places in `to`. Returns how many bytes that were. The guest
    /// must not run if they are to be of one moment.
    pub fn copy(&self, to: &File) -> io::Result<u64> {
        let mut copier = Copier {
            process: self.process,
            to,
            buffer: vec![0; WINDOW],
            ranges: Vec::new(),
            filled: 0,
            copied: 0,
        };
        let mut entries = vec![0; (ENTRIES * 8) as usize];
        for mapping in &self.mappings {
            let pages = mapping.length / PAGE;
            for first in (0..pages).step_by(ENTRIES as usize) {
                let count = ENTRIES.min(pages - first);
                let entries = &mut entries[..(count * 8) as usize];
                let at = (mapping.address / PAGE + first) * 8;
                self.pagemap.read_exact_at(entries, at)?;
                for run in written_runs(entries) {
                    copier.add(mapping, (first + run.start)..(first + run.end))?;
                }
            }
        }
        copier.flush()?;
        Ok(copier.copied)
    }
}

/// Where a process has mapped all of the file of its guest's memory, by offset.
pub(super) fn mappings(process: u32, memory: &File) -> io::Result<Vec<Mapping>> {
    let file = memory.metadata()?;
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let mut mappings: Vec<Mapping> = (maps.lines())
        .filter_map(|line| private_mapping(line, file.ino()))
        .collect();
    mappings.sort_by_key(|mapping| mapping.offset);
    match is_whole(&mappings, file.len()) {
        true => Ok(mappings),
        false => {
            let why = "QEMU has not mapped the guest's memory as it was told to";
            Err(io::Error::new(ErrorKind::InvalidData, why))
        }
    }
}

/// The mapping of a line of `/proc/PID/maps`, if it is a private one of the file `inode`.
fn private_mapping(line: &str, inode: u64) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hexadecimal = |word| u64::from_str_radix(word, 16).ok();
    let (address, end) = (hexadecimal(start)?, hexadecimal(end)?);
    let is_private = words.next()?.ends_with('p');
    let offset = hexadecimal(words.next()?)?;
    // The device before it is another than stat(2) reports on some filesystems.
    let found = words.nth(1)?.parse() == Ok(inode);
    (is_private && found).then_some(Mapping {
        address,
        length: end.checked_sub(address)?,
        offset,
    })
}

/// Whether the mappings, sorted, hold every byte of a file of this size once.
fn is_whole(mappings: &[Mapping], size: u64) -> bool {
    let end = mappings.iter().try_fold(0_u64, |end, mapping| {
        (mapping.offset == end).then_some(end + mapping.length)
    });
    end == Some(size)
}

/// The ranges of pages that were written.
fn written_runs(entries: &[u8]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for (page, entry) in (0..).zip(entries.as_chunks::<8>().0) {
        let entry = u64::from_ne_bytes(*entry);
        if entry & OF_FILE != 0 || entry & (PRESENT | SWAPPED) == 0 {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == page => run.end = page + 1,
            _ => runs.push(page..page + 1),
        }
    }
    runs
}

/// Collects ranges until its buffer is full.
struct Copier<'a> {
    process: Pid,
    to: &'a File,
    buffer: Vec<u8>,
    /// Each with its place in the file.
    ranges: Vec<(RemoteIoVec, u64)>,
    /// Bytes of the buffer that the ranges take.
    filled: usize,
    copied: u64,
}

impl Copier<'_> {
    fn add(&mut self, mapping: &Mapping, pages: Range<u64>) -> io::Result<()> {
        let (mut at, end) = (pages.start * PAGE, pages.end * PAGE);
        while at < end {
            if self.filled == WINDOW || self.ranges.len() == RANGES {
                self.flush()?;
            }
            let len = (WINDOW - self.filled).min((end - at) as usize);
            let base = (mapping.address + at) as usize;
            let range = RemoteIoVec { base, len };
            self.ranges.push((range, mapping.offset + at));
            self.filled += len;
            at += len as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.ranges.is_empty() {
            return Ok(());
        }
        let remote: Vec<RemoteIoVec> = self.ranges.iter().map(|(range, _)| *range).collect();
        let buffer = &mut self.buffer[..self.filled];
        let read = process_vm_readv(self.process, &mut [IoSliceMut::new(buffer)], &remote)?;
        if read != self.filled {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &self.buffer[..self.filled];
        for (range, place) in self.ranges.drain(..) {
            let (bytes, after) = rest.split_at(range.len);
            self.to.write_all_at(bytes, place)?;
            rest = after;
        }
        self.copied += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_mappings_of_the_file_count() {
        let line =
            "7f00e0000000-7f0100000000 rw-p 20000000 00:01 1047 /memfd:bivouac-memory (deleted)";
        let mapping = Mapping {
            address: 0x7f00_e000_0000,
            length: 0x2000_0000,
            offset: 0x2000_0000,
        };
        assert_eq!(private_mapping(line, 1047), Some(mapping.clone()));
        assert_eq!(private_mapping(line, 1048), None);
        assert_eq!(private_mapping(&line.replace("rw-p", "rw-s"), 1047), None);
        for broken in ["", "1-2", "x-y rw-p 0 0:1 1047", "2-1 rw-p 0 0:1 1047"] {
            assert_eq!(private_mapping(broken, 1047), None, "{broken}");
        }
        let first = Mapping {
            offset: 0,
            ..mapping.clone()
        };
        assert!(is_whole(&[first.clone(), mapping.clone()], 0x4000_0000));
        assert!(!is_whole(std::slice::from_ref(&mapping), 0x4000_0000));
        assert!(!is_whole(
            &[first.clone(), first.clone(), mapping],
            0x4000_0000
        ));
        assert!(!is_whole(&[first], 0x4000_0000));
    }

    #[test]
    fn runs_are_of_pages_that_are_no_longer_those_of_the_file() {
        let entries = [
            0,
            PRESENT,
            PRESENT | 1,
            PRESENT | OF_FILE,
            SWAPPED,
            OF_FILE,
            SWAPPED | OF_FILE,
            PRESENT,
        ];
        let bytes: Vec<u8> = entries
            .iter()
            .flat_map(|entry| entry.to_ne_bytes())
            .collect();
        assert_eq!(written_runs(&bytes), [1..3, 4..5, 7..8]);
        assert_eq!(written_runs(&[]), []);
    }
}
