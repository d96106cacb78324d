//! A file or tree of the guest to a tar stream.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::files;
use super::root::{failed, open_at};
use super::walk::{self, DIRECTORY, Order};
use crate::archive::{ArchiveError, ArchiveStats, Packer};
use crate::protocol::{
    ByteString, Entry, ErrorStage, FileKind, PathAt, RemoteError, Stat, TarOptions,
};

/// How much is written at a time, in bytes: each time the reader takes its turn.
const BUFFER: usize = 256 << 10;

/// Writes what is at `at`, and returns the number of members.
/// Files of a tree that cannot be read are left out; the first of them is the error once the rest
/// is written.
pub(crate) fn pack(
    at: &PathAt,
    options: &TarOptions,
    data: &File,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let path = at.path.as_path();
    let top = open_at(at, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let stat = files::stat_of(&top, at)?;
    let own = path.file_name().map(|name| ByteString::from(name).0);
    let name = options.name.clone().map(|name| name.0).or(own.clone());
    let name = name.unwrap_or_else(|| b".".to_vec());
    let mut packer = Packer::new(BufWriter::with_capacity(BUFFER, data), |_| true);
    let mut add = |directory: &OwnedFd, entry_name: &CStr, entry: Entry| {
        let mut path = name.clone();
        if !entry.path.0.is_empty() {
            path.push(b'/');
            path.extend_from_slice(&entry.path.0);
        }
        let shown = ByteString(path.clone()).as_path().to_owned();
        match entry.error {
            Some(error) => {
                packer.note(&shown, Errno::from_raw(error.errno.unwrap_or(0)));
                Ok(())
            }
            None => packer.add(directory, entry_name, path, &shown),
        }
        .map_err(stream_error)
    };
    if stat.kind == FileKind::Directory {
        let directory =
            openat(&top, ".", DIRECTORY, Mode::empty()).map_err(|errno| failed(at, errno))?;
        opened(Some(stat));
        add(&directory, c".", Entry::default())?;
        walk::walk(
            directory,
            options.one_file_system,
            Order::ReadAhead,
            &mut add,
        )?;
    } else {
        let holder = PathAt {
            root: at.root.clone(),
            path: path.parent().unwrap_or(Path::new("/")).into(),
        };
        let directory = open_at(&holder, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let own = CString::new(own.unwrap_or_default()).map_err(|_| failed(at, Errno::EINVAL))?;
        opened(Some(stat));
        add(&directory, &own, Entry::default())?;
    }
    outcome(packer.finish().map_err(stream_error)?)
}

/// The number of members, or the error for the first of the files that failed.
pub(crate) fn outcome(stats: ArchiveStats) -> Result<u64, RemoteError> {
    let Some((name, errno)) = stats.first else {
        return Ok(stats.members);
    };
    let path = ByteString(name);
    let mut error = RemoteError::of(ErrorStage::File, path.as_path().display(), errno);
    if stats.failed > 1 {
        error.text += &format!(" (and {} more)", stats.failed - 1);
    }
    Err(error)
}

/// The error for a stream that cannot be written or read.
pub(crate) fn stream_error(error: ArchiveError) -> RemoteError {
    match error {
        ArchiveError::Io(error) => RemoteError::of(ErrorStage::Process, "the pipe", error),
        error => RemoteError::new(ErrorStage::Tar, error.to_string()),
    }
}
