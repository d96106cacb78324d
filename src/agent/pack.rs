//! A file or tree of the guest to a tar stream.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::directory_read_ahead::DirectoryReadAhead;
use super::files;
use super::gather::{AT_ONCE, Gatherer, OpenFile, read_ahead};
use super::root::{DIRECTORY, failed, open_at};
use super::walk::{self, Order};
use crate::archive::{self, ArchiveError, ArchiveStats, Opened, Packer};
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
    gatherer: Gatherer,
    data: &File,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let path = at.path.as_path();
    let top = open_at(at, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let stat = files::stat_of(&top, at)?;
    let own = path.file_name().map(|name| ByteString::from(name).0);
    let name = options.name.clone().map(|name| name.0).or(own.clone());
    let read_ahead = DirectoryReadAhead::new(gatherer.is_of_appliance());
    let mut batch = Batch {
        name: name.unwrap_or_else(|| b".".to_vec()),
        packer: Packer::new(BufWriter::with_capacity(BUFFER, data), |_| true),
        gatherer,
        waiting: Vec::new(),
    };
    if stat.kind == FileKind::Directory {
        let directory = openat(&top, ".", DIRECTORY, Mode::empty());
        let directory = Rc::new(directory.map_err(|errno| failed(at, errno))?);
        opened(Some(stat));
        batch.add(&directory, c".", Entry::default())?;
        let add = |directory: &_, name: &_, entry| batch.add(directory, name, entry);
        walk::walk(
            directory,
            options.one_file_system,
            Order::Any,
            &read_ahead,
            add,
        )?;
    } else {
        let holder = PathAt {
            root: at.root.clone(),
            path: path.parent().unwrap_or(Path::new("/")).into(),
        };
        let directory = open_at(&holder, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let own = CString::new(own.unwrap_or_default()).map_err(|_| failed(at, Errno::EINVAL))?;
        opened(Some(stat));
        batch.add(&directory.into(), &own, Entry::default())?;
    }
    batch.put()?;
    outcome(batch.packer.finish().map_err(stream_error)?)
}

/// Files that are packed together, so that the disk reads them together.
struct Batch<W: Write> {
    /// Of the top, in the stream.
    name: Vec<u8>,
    packer: Packer<W>,
    gatherer: Gatherer,
    waiting: Vec<Waiting>,
}

struct Waiting {
    directory: Rc<OwnedFd>,
    name: CString,
    /// In the stream.
    path: Vec<u8>,
    error: Option<RemoteError>,
    /// A regular file with one name.
    file: Option<OpenFile>,
}

impl<W: Write> Batch<W> {
    fn add(
        &mut self,
        directory: &Rc<OwnedFd>,
        name: &CStr,
        entry: Entry,
    ) -> Result<(), RemoteError> {
        let mut path = self.name.clone();
        if !entry.path.0.is_empty() {
            path.push(b'/');
            path.extend_from_slice(&entry.path.0);
        }
        let is_file = |stat: &Stat| stat.kind == FileKind::File && stat.links == 1;
        let file = entry.stat.filter(is_file);
        // What cannot be opened is reported by who packs it.
        let mut file = file.and_then(|_| archive::open(directory, name).ok());
        // In a booted guest a file may change until it is its turn.
        if !self.gatherer.is_of_appliance()
            && let Some((file, _)) = file.take()
        {
            read_ahead(&file);
        }
        self.waiting.push(Waiting {
            directory: directory.clone(),
            name: name.to_owned(),
            path,
            error: entry.error,
            file,
        });
        match self.waiting.len() < AT_ONCE {
            true => Ok(()),
            false => self.put(),
        }
    }

    fn put(&mut self) -> Result<(), RemoteError> {
        let waiting = std::mem::take(&mut self.waiting);
        let files: Vec<_> = waiting.iter().map(|one| one.file.as_ref()).collect();
        let gathered = self.gatherer.read(&files);
        for (number, one) in waiting.iter().enumerate() {
            let shown = Path::new(OsStr::from_bytes(&one.path));
            if let Some(error) = &one.error {
                let errno = Errno::from_raw(error.errno.unwrap_or(0));
                self.packer.note(shown, errno);
                continue;
            }
            let opened = one.file.as_ref().map(|(file, stat)| Opened {
                file,
                stat,
                content: gathered.of(number),
            });
            let added =
                self.packer
                    .add((&one.directory, &one.name), opened, one.path.clone(), shown);
            added.map_err(stream_error)?;
        }
        Ok(())
    }
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
