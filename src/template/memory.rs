//! The file of a machine's memory: created as a memfd, so that a failed boot leaves nothing behind,
//! stored as a sparse file, and verified before it is used.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::digest::Digest;
use crate::linux::{memfd, proc_fd};

/// How much is read at once: what fits into a processor's second cache.
const WINDOW: u64 = 256 << 10;
/// A page, the unit that is kept or left out.
const PAGE: usize = 4096;

pub fn new(mib: u64) -> io::Result<File> {
    let file = memfd::create(c"bivouac-memory")?;
    file.set_len(mib << 20)?;
    Ok(file)
}

/// Copies what is not zero, and gives the digest of it all.
pub fn copy(from: &File, to: &File) -> io::Result<String> {
    to.set_len(from.metadata()?.len())?;
    each_run(from, |place, bytes| to.write_all_at(bytes, place))
}

/// Copies everything but holes into an empty file of the same size, within the kernel and by two
/// threads.
pub fn duplicate(from: &File, to: &File) -> io::Result<()> {
    let mut first = data(from)?;
    let half = first.iter().map(|run| run.end - run.start).sum::<u64>() / 2;
    let second = split_off(&mut first, half);
    std::thread::scope(|scope| {
        let other = std::thread::Builder::new().spawn_scoped(scope, || copy_runs(from, to, second));
        copy_runs(from, to, first)?;
        let copied = other?.join();
        copied.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    })
}

/// The parts of a file that are no holes, in order.
fn data(file: &File) -> io::Result<Vec<Range<u64>>> {
    let length = file.metadata()?.len();
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < length {
        let start = match lseek(file, at as i64, Whence::SeekData) {
            Ok(start) => start as u64,
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        at = lseek(file, start as i64, Whence::SeekHole)? as u64;
        runs.push(start..at);
    }
    Ok(runs)
}

/// Takes away what follows the first `bytes` bytes.
fn split_off(runs: &mut Vec<Range<u64>>, bytes: u64) -> Vec<Range<u64>> {
    let mut left = bytes;
    let full = runs.iter().position(|run| {
        let length = run.end - run.start;
        let is_last = length > left;
        left -= length.min(left);
        is_last
    });
    let mut rest = runs.split_off(full.unwrap_or(runs.len()));
    if let Some(cut) = rest.first_mut().filter(|_| left > 0) {
        runs.push(cut.start..cut.start + left);
        cut.start += left;
    }
    rest
}

/// Copies parts of a file, with positions of its own in both.
fn copy_runs(from: &File, to: &File, runs: Vec<Range<u64>>) -> io::Result<()> {
    let mut from = File::open(proc_fd::path(from))?;
    let mut to = File::options().write(true).open(proc_fd::path(to))?;
    for run in runs {
        from.seek(SeekFrom::Start(run.start))?;
        to.seek(SeekFrom::Start(run.start))?;
        io::copy(&mut (&from).take(run.end - run.start), &mut to)?;
    }
    Ok(())
}

/// The digest of what is not zero in a file.
pub fn digest(file: &File) -> io::Result<String> {
    each_run(file, |_, _| Ok(()))
}

/// Visits all runs of pages that are not zero, within windows, so that the same content
/// has the same runs on every filesystem, wherever that keeps holes.
fn each_run(
    file: &File,
    mut visit: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<String> {
    let length = file.metadata()?.len();
    let mut digest = Digest::default();
    digest.add(length, &[]);
    let mut buffer = vec![0; WINDOW as usize];
    let mut at = 0;
    while at < length {
        at = match lseek(file, at as i64, Whence::SeekData) {
            Ok(data) => data as u64 / WINDOW * WINDOW,
            // Nothing but a hole.
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let window = &mut buffer[..(length - at).min(WINDOW) as usize];
        file.read_exact_at(window, at)?;
        let mut pages = window.chunks(PAGE).enumerate().peekable();
        while let Some((first, page)) = pages.next() {
            if is_zero(page) {
                continue;
            }
            let mut end = first * PAGE + page.len();
            while let Some((_, page)) = pages.next_if(|(_, page)| !is_zero(page)) {
                end += page.len();
            }
            let start = first * PAGE;
            let run = &window[start..end];
            digest.add(at + start as u64, run);
            visit(at + start as u64, run)?;
        }
        at += WINDOW;
    }
    Ok(digest.finish())
}

fn is_zero(page: &[u8]) -> bool {
    // Most pages differ in their first bytes; the others are compared at the speed of memory.
    page.chunks(64)
        .all(|line| line.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_duplicate_has_the_bytes_and_the_holes(
            pages in proptest::collection::vec(proptest::prelude::any::<bool>(), 0..40),
        ) {
            let from = tempfile::tempfile().unwrap();
            from.set_len((pages.len() * PAGE) as u64).unwrap();
            for (page, _) in pages.iter().enumerate().filter(|(_, written)| **written) {
                from.write_all_at(&[page as u8 + 1; PAGE], (page * PAGE) as u64).unwrap();
            }
            let to = tempfile::tempfile().unwrap();
            to.set_len(from.metadata().unwrap().len()).unwrap();
            duplicate(&from, &to).unwrap();
            let bytes = |file: &File| {
                let mut bytes = vec![0; pages.len() * PAGE];
                file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            };
            assert_eq!(bytes(&from), bytes(&to));
            assert_eq!(data(&from).unwrap(), data(&to).unwrap());
        }
    }
}
