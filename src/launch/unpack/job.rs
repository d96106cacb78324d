//! How an image is unpacked: in a thread, so that a signal ends it, and no further than its limit.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;

use tokio::sync::oneshot;

use crate::archive::ArchiveError;
use crate::image::ovf::OvfError;
use crate::linux::memfd;
use crate::machine::overlay::Place;
use crate::text::escape::Untrusted;

/// How much is written at a time, in bytes; of zeros, nothing is.
const CHUNK: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Of the limit.
    #[error("too large")]
    TooLarge,
    #[error("changed meanwhile")]
    Changed,
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Ovf(#[from] OvfError),
    #[error("its OVF names {}, which is not in the archive", Untrusted(.0))]
    Missing(String),
    #[error("{} is no regular file in the archive", Untrusted(.0))]
    NoFile(String),
    #[error("its OVF is too large, or is not UTF-8")]
    NoText,
}

/// Whether somebody waits for the work.
pub type Awaited<'a> = &'a (dyn Fn() -> bool + Sync);

/// What is to be unpacked.
pub struct Job<'a> {
    pub original: &'a File,
    pub path: &'a Path,
    /// Where the copies lie.
    pub place: &'a Place,
    /// How many bytes they may have together.
    pub limit: u64,
    pub is_wanted: Awaited<'a>,
}

impl Job<'_> {
    pub fn new_file(&self) -> io::Result<File> {
        match self.place {
            Place::Directory(scratch) => scratch.unnamed_file(),
            Place::Memory => memfd::create(c"bivouac-unpacked"),
        }
    }

    /// Copies up to `limit` bytes, with holes for zeros. Returns how many.
    pub fn copy(&self, from: impl Read, to: &File, limit: u64) -> Result<u64, UnpackError> {
        copy(from, to, limit, self.is_wanted).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => UnpackError::TooLarge,
            _ => error.into(),
        })
    }
}

/// In a thread, so that a signal ends the work; it ends soon after nobody waits for it.
pub async fn in_thread<T: Send + 'static>(
    work: impl FnOnce(Awaited<'_>) -> Result<T, UnpackError> + Send + 'static,
) -> Result<T, UnpackError> {
    let (sender, receiver) = oneshot::channel();
    let thread = thread::Builder::new().spawn(move || {
        let done = work(&|| !sender.is_closed());
        // Nobody waits for it after a signal.
        let _ = sender.send(done);
    })?;
    let done = receiver.await;
    // It has ended, or is about to: nothing may run beside what forks next.
    let _ = thread.join();
    done.unwrap_or_else(|_| Err(io::Error::other("the decoder failed unexpectedly").into()))
}

fn copy(mut from: impl Read, mut to: &File, limit: u64, is_wanted: Awaited<'_>) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut length = 0;
    loop {
        let mut filled = 0;
        while filled < CHUNK && is_wanted() {
            match from.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let part = &chunk[..filled];
        length += filled as u64;
        if length > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        match part.iter().all(|byte| *byte == 0) {
            true => to.seek(SeekFrom::Current(filled as i64)).map(drop)?,
            false => to.write_all(part)?,
        }
        if filled < CHUNK {
            to.set_len(to.stream_position()?)?;
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_has_holes_and_no_more_than_its_limit() {
        let data = [vec![7; 3 * CHUNK / 2], vec![0; 1 << 20], vec![1, 0]].concat();
        let whole = data.len() as u64;
        let file = tempfile::tempfile().unwrap();
        let wanted = || true;
        assert_eq!(copy(&data[..], &file, whole, &wanted).unwrap(), whole);
        let mut found = Vec::new();
        (&file).seek(SeekFrom::Start(0)).unwrap();
        (&file).read_to_end(&mut found).unwrap();
        assert_eq!(found, data);
        assert!(file.metadata().unwrap().blocks() * 512 < 1 << 19);
        let other = tempfile::tempfile().unwrap();
        let refused = copy(io::repeat(0), &other, 1 << 20, &wanted);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn it_ends_when_nobody_waits_for_it() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(copy(io::repeat(0), &file, u64::MAX, &|| false).unwrap(), 0);
    }
}
