//! The file of a machine's memory: created as a memfd, so that a failed boot leaves nothing behind,
//! stored as a sparse file, and verified before it is used.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Whence, lseek};
use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// How much is read at once: what fits into a processor's second cache.
const WINDOW: u64 = 256 << 10;
/// A page, the unit that is kept or left out.
const PAGE: usize = 4096;

/// Memory for a machine that is to be saved.
pub fn new(mib: u64) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create(c"bivouac-memory", flags)?);
    file.set_len(mib << 20)?;
    Ok(file)
}

/// Prevents any change. No process may have it mapped for writing.
pub fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

/// Identifies a file and its last change. The kernel sets the time of a change, so a file that was
/// changed in place, restored from a copy, or replaced has another identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }
}

impl From<&std::fs::Metadata> for Identity {
    fn from(found: &std::fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Copies what is not zero, and gives the digest of it all.
pub fn copy(from: &File, to: &File) -> io::Result<String> {
    to.set_len(from.metadata()?.len())?;
    each_run(from, |place, bytes| to.write_all_at(bytes, place))
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
