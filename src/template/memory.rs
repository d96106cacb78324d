//! The file of a machine's memory: created as a memfd, so that a failed boot leaves nothing behind,
//! stored as a sparse file, and verified before it is used.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::digest::Digest;
use crate::linux::memfd;

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

/// Copies everything but holes into an empty file of the same size, within the kernel. Moves the
/// positions of both.
pub fn duplicate(mut from: &File, mut to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    let mut at = 0;
    while at < length {
        let data = match lseek(from, at as i64, Whence::SeekData) {
            Ok(data) => data as u64,
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        at = lseek(from, data as i64, Whence::SeekHole)? as u64;
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data))?;
        io::copy(&mut from.take(at - data), &mut to)?;
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
