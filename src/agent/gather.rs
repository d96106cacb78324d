//! Reads many small files at once, from the device that their filesystem is on: each request of a disk costs an
//! emulated machine far more than the bytes, and files that were made together are next to each other.
//! For the agent of an appliance only, and of what it has mounted read-only: there, no file is newer than what its
//! disk has of it. What the kernel would check of a file's content (fs-verity) is not checked.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::fcntl::{OFlag, PosixFadviseAdvice, open, posix_fadvise};
use nix::libc::dev_t;
use nix::sys::stat::{FileStat, Mode, fstat, major, minor};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::FsFlags;

use crate::protocol::MAX_CONTENT;
use crate::sys::{extent, is_realtime};

/// How many files are a batch. All of them are open at once.
pub(super) const AT_ONCE: usize = 128;

/// How much is read for one batch of files, in bytes.
const MEMORY: usize = 4 << 20;

/// What a direct read, and the memory for it, begin at a multiple of, in bytes.
const ALIGNMENT: usize = 4096;

/// What is read along with its neighbours rather than left out, in bytes.
const GAP: u64 = 16 << 10;

/// The largest file that is read so, in bytes.
const LARGEST: i64 = MAX_CONTENT as i64;

/// How much of a file the kernel begins to read, in bytes.
const READ_AHEAD: i64 = 128 << 10;

/// A regular file that was opened.
pub(super) type OpenFile = (File, FileStat);

/// Reads batches of files.
pub(super) struct Gatherer {
    is_of_appliance: bool,
    /// Empty until it is needed.
    memory: Vec<u8>,
}

/// The contents of some of a batch of files.
pub(super) struct Gathered<'a> {
    memory: &'a [u8],
    /// Where the bytes of each file are in memory.
    files: Vec<Option<Range<usize>>>,
}

impl Gathered<'_> {
    /// The bytes of the file with this number; `None` if it has to be read by itself.
    pub(super) fn of(&self, number: usize) -> Option<&[u8]> {
        Some(&self.memory[self.files.get(number)?.clone()?])
    }
}

impl Gatherer {
    /// Whether files are worth to be opened before it is their turn.
    pub(super) fn is_of_appliance(&self) -> bool {
        self.is_of_appliance
    }

    pub(super) const fn new(is_of_appliance: bool) -> Self {
        Self {
            is_of_appliance,
            memory: Vec::new(),
        }
    }

    /// Reads those of `files` that can be read so, and has the kernel begin to read the others. A disk that has
    /// many requests merges them, and each that is waited for alone takes as long as reading hundred pages.
    pub(super) fn read(&mut self, files: &[Option<&OpenFile>]) -> Gathered<'_> {
        let first = files.iter().flatten().next();
        let device = first
            .filter(|_| self.is_of_appliance)
            .and_then(|file| Device::of(file));
        let place = |file: &Option<_>| device.as_ref()?.place((*file)?);
        let places: Vec<_> = files.iter().map(place).collect();
        let mut runs = runs(places.iter().flatten());
        if !runs.is_empty() && self.memory.is_empty() {
            self.memory = vec![0; MEMORY + ALIGNMENT];
        }
        let begin = self.memory.as_ptr().align_offset(ALIGNMENT);
        let memory = self.memory.get_mut(begin..).unwrap_or_default();
        if let Some(device) = &device {
            runs.retain_mut(|run| run.read(&device.file, memory).is_ok());
        }
        let in_memory = |place: Option<_>| in_memory(&runs, &place?);
        let found: Vec<_> = places.into_iter().map(in_memory).collect();
        for (file, found) in files.iter().zip(&found) {
            if let (Some((file, _)), None) = (file, found) {
                read_ahead(file);
            }
        }
        Gathered {
            memory,
            files: found,
        }
    }
}

/// Has the kernel begin to read a file.
pub(super) fn read_ahead(file: &File) {
    // It may be refused: then the file is read when it is its turn.
    let _ = posix_fadvise(file, 0, READ_AHEAD, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
}

/// Opens a block device by its number.
pub(super) fn device(number: dev_t, flags: OFlag) -> Option<File> {
    let link = format!("/sys/dev/block/{}:{}", major(number), minor(number));
    let name = std::fs::read_link(link).ok()?;
    let path = Path::new("/dev").join(name.file_name()?);
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | flags;
    let file = File::from(open(&path, flags, Mode::empty()).ok()?);
    (fstat(&file).ok()?.st_rdev == number).then_some(file)
}

/// The device of a filesystem whose files are nowhere else, but for those on a realtime device.
struct Device {
    number: dev_t,
    file: File,
    has_realtime: bool,
}

impl Device {
    /// That of a file; `None` for another kind of filesystem, or if it may be written.
    fn of((file, stat): &OpenFile) -> Option<Self> {
        let found = fstatfs(file).ok()?;
        let kind = found.filesystem_type();
        let is_known = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC].contains(&kind);
        if !is_known || !found.flags().contains(FsFlags::ST_RDONLY) {
            return None;
        }
        Some(Self {
            number: stat.st_dev,
            file: device(stat.st_dev, OFlag::O_DIRECT)?,
            has_realtime: kind == XFS_SUPER_MAGIC,
        })
    }

    /// Where a file is, if it is here, and neither empty nor large.
    fn place(&self, (file, stat): &OpenFile) -> Option<Range<u64>> {
        let is_here = stat.st_dev == self.number && (1..=LARGEST).contains(&stat.st_size);
        if !is_here || self.has_realtime && is_realtime(file).ok()? {
            return None;
        }
        extent(file, stat.st_size.unsigned_abs()).ok()?
    }
}

/// What is read at a time: this part of the device, to this place in memory.
pub(super) struct Run {
    pub(super) from: Range<u64>,
    to: usize,
}

impl Run {
    /// Reads it, or as much of it as the device has.
    fn read(&mut self, device: &File, memory: &mut [u8]) -> io::Result<()> {
        let length = usize::try_from(self.from.end - self.from.start).unwrap_or(0);
        let mut done = 0;
        while done < length {
            let buffer = &mut memory[self.to + done..self.to + length];
            match device.read_at(buffer, self.from.start + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.from.end = self.from.start + done as u64;
        Ok(())
    }
}

/// The runs for these pieces of the device, in the order of the device, as many as there is memory for.
pub(super) fn runs<'a>(pieces: impl Iterator<Item = &'a Range<u64>>) -> Vec<Run> {
    let alignment = ALIGNMENT as u64;
    let aligned = |piece: &Range<u64>| {
        let end = piece.end.checked_next_multiple_of(alignment)?;
        Some(piece.start / alignment * alignment..end)
    };
    let mut pieces: Vec<_> = pieces.filter_map(aligned).collect();
    pieces.sort_unstable_by_key(|piece| piece.start);
    let mut runs: Vec<Run> = Vec::new();
    let mut used = 0;
    for piece in pieces {
        let near = |run: &&mut Run| piece.start.saturating_sub(run.from.end) <= GAP;
        let last = runs.last_mut().filter(near);
        let from = last.as_ref().map_or(piece.start, |run| run.from.end);
        let more = usize::try_from(piece.end.saturating_sub(from)).unwrap_or(MEMORY);
        if more > MEMORY - used {
            continue;
        }
        match last {
            Some(run) => run.from.end = run.from.end.max(piece.end),
            None => runs.push(Run {
                from: piece,
                to: used,
            }),
        }
        used += more;
    }
    runs
}

/// Where a piece of the device is in memory, if it was read.
fn in_memory(runs: &[Run], piece: &Range<u64>) -> Option<Range<usize>> {
    let after = runs.partition_point(|run| run.from.start <= piece.start);
    let run = runs.get(after.checked_sub(1)?)?;
    if piece.end > run.from.end {
        return None;
    }
    let start = run.to + usize::try_from(piece.start - run.from.start).ok()?;
    Some(start..start + usize::try_from(piece.end - piece.start).ok()?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    const LENGTH: u64 = 2 << 20;

    /// A device that has another byte at each place near by.
    fn device() -> &'static (File, Vec<u8>) {
        static DEVICE: LazyLock<(File, Vec<u8>)> = LazyLock::new(|| {
            let bytes: Vec<_> = (0..LENGTH)
                .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
                .collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            (file, bytes)
        });
        &DEVICE
    }

    fn read(pieces: &[Range<u64>], device: &File) -> (Vec<Run>, Vec<u8>) {
        let mut memory = vec![0; MEMORY];
        let mut runs = runs(pieces.iter());
        runs.retain_mut(|run| run.read(device, &mut memory).is_ok());
        (runs, memory)
    }

    proptest! {
        #[test]
        fn what_is_in_memory_is_what_the_device_has(
            pieces in prop::collection::vec((0..LENGTH + 5000, 1..200_000_u64), 0..60),
        ) {
            let (device, bytes) = device();
            let pieces: Vec<_> = pieces.iter().map(|(start, length)| *start..start + length).collect();
            let (runs, memory) = read(&pieces, device);
            for piece in &pieces {
                let found = in_memory(&runs, piece).map(|place| &memory[place]);
                let expected = bytes.get(piece.start as usize..piece.end as usize);
                // All of the device fits.
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn runs_are_apart_and_fit(
            pieces in prop::collection::vec((any::<u64>(), 1..600_000_u64), 0..60),
        ) {
            let pieces: Vec<_> = pieces
                .iter()
                .map(|(start, length)| *start..start.saturating_add(*length))
                .collect();
            let runs = runs(pieces.iter());
            let mut end = 0;
            for run in &runs {
                prop_assert_eq!(run.to, end);
                end += usize::try_from(run.from.end - run.from.start).unwrap();
            }
            prop_assert!(end <= MEMORY);
            prop_assert!(runs.is_sorted_by_key(|run| run.from.start));
        }
    }

    #[test]
    fn neighbours_are_read_at_once() {
        let pieces = [0..5000, 8192..9000, 9001..30_000, 400_000..400_001];
        let runs = runs(pieces.iter());
        let from: Vec<_> = runs.iter().map(|run| run.from.clone()).collect();
        assert_eq!(from, [0..32_768, 397_312..401_408]);
    }
}
