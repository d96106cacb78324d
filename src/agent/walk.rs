//! Walks a directory tree in constant memory: one open directory for each level, and no list of
//! all names unless they are to be sorted. Symbolic links are not followed, and each step opens one name in an open directory, so a
//! tree that changes meanwhile cannot lead out of it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::{Dir, OwningIter, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, openat, posix_fadvise};
use nix::sys::stat::{Mode, fstat};

use super::files;
use crate::protocol::{ByteString, Entry, ErrorStage, FileKind, RemoteError};

/// Limit on the depth. A directory below it is reported with an error.
const MAX_DEPTH: usize = 400;

/// Flags that open a directory, but not through a link.
pub(crate) const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// In which order the entries of a directory are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Any,
    /// By the bytes of their names, which are all read first.
    Sorted,
    /// For those whose contents are read next: some hundred at a time by their inodes, near which their
    /// contents are, and all of these are asked for at once. A disk that has many requests merges them.
    ReadAhead,
}

/// How many entries are read ahead, and how much of each.
const READ_AHEAD: usize = 256;
pub(super) const READ_AHEAD_BYTES: i64 = 128 << 10;

enum Names {
    Unread(OwningIter),
    Sorted(std::vec::IntoIter<Result<CString, Errno>>),
    ReadAhead {
        unread: OwningIter,
        names: std::vec::IntoIter<CString>,
        failed: Option<Errno>,
    },
}

struct Level {
    directory: OwnedFd,
    names: Names,
    /// The length of the directory's path.
    path: usize,
}

impl Level {
    fn new(directory: OwnedFd, path: usize, order: Order) -> Result<Self, Errno> {
        let copy = nix::unistd::dup(&directory)?;
        let mut names = Dir::from_fd(copy)?.into_iter();
        let names = match order {
            Order::Any => Names::Unread(names),
            Order::Sorted => {
                let mut all: Vec<_> = std::iter::from_fn(|| next_name(&mut names)).collect();
                // An error, after which there are no more names, comes last.
                all.sort_by(|one, other| match (one, other) {
                    (Ok(one), Ok(other)) => one.cmp(other),
                    (one, other) => one.is_err().cmp(&other.is_err()),
                });
                Names::Sorted(all.into_iter())
            }
            Order::ReadAhead => Names::ReadAhead {
                unread: names,
                names: Vec::new().into_iter(),
                failed: None,
            },
        };
        Ok(Self {
            directory,
            names,
            path,
        })
    }

    fn next(&mut self) -> Option<Result<CString, Errno>> {
        match &mut self.names {
            Names::Unread(names) => next_name(names),
            Names::Sorted(names) => names.next(),
            Names::ReadAhead {
                unread,
                names,
                failed,
            } => {
                if names.len() == 0 && failed.is_none() {
                    (*names, *failed) = read_ahead(&self.directory, unread);
                }
                names.next().map(Ok).or_else(|| failed.take().map(Err))
            }
        }
    }
}

/// The next names by their inodes, with the reading of their contents begun, and the error after them.
fn read_ahead(
    directory: &OwnedFd,
    unread: &mut OwningIter,
) -> (std::vec::IntoIter<CString>, Option<Errno>) {
    let mut failed = None;
    let mut found = Vec::new();
    while found.len() < READ_AHEAD {
        match unread.next() {
            None => break,
            Some(Ok(entry)) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Some(Ok(entry)) => {
                let is_file = entry.file_type() == Some(Type::File);
                found.push((entry.ino(), entry.file_name().to_owned(), is_file));
            }
            Some(Err(errno)) => {
                failed = Some(errno);
                break;
            }
        }
    }
    found.sort_unstable_by_key(|(inode, ..)| *inode);
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    for (_, name, _) in found.iter().filter(|(.., is_file)| *is_file) {
        // What cannot be opened is reported by who reads it.
        if let Ok(file) = openat(directory, name.as_c_str(), flags, Mode::empty()) {
            let advice = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
            let _ = posix_fadvise(file, 0, READ_AHEAD_BYTES, advice);
        }
    }
    let names: Vec<_> = found.into_iter().map(|(_, name, _)| name).collect();
    (names.into_iter(), failed)
}

fn next_name(names: &mut OwningIter) -> Option<Result<CString, Errno>> {
    names.find_map(|entry| match entry {
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
        entry => Some(entry.map(|entry| entry.file_name().to_owned())),
    })
}

/// Calls `visit` for every entry of a directory, with the directory and the name.
pub(crate) fn list(
    directory: OwnedFd,
    mut visit: impl FnMut(&OwnedFd, &CStr, Entry) -> Result<(), RemoteError>,
) -> Result<(), RemoteError> {
    let failed = |errno| RemoteError::of(ErrorStage::File, "the directory", errno);
    let mut level = Level::new(directory, 0, Order::Any).map_err(failed)?;
    while let Some(name) = level.next() {
        let name = name.map_err(failed)?;
        let path = ByteString(name.to_bytes().to_owned());
        let entry = files::entry(&level.directory, &name, path);
        visit(&level.directory, &name, entry)?;
    }
    Ok(())
}

/// Calls `visit` for everything below a directory, parents first, with the directory that contains
/// it and the name. A directory that cannot be entered is visited a second time, with the error.
pub(crate) fn walk(
    top: OwnedFd,
    one_file_system: bool,
    order: Order,
    mut visit: impl FnMut(&OwnedFd, &CStr, Entry) -> Result<(), RemoteError>,
) -> Result<(), RemoteError> {
    let failed = |errno| RemoteError::of(ErrorStage::File, "the directory", errno);
    let device = fstat(&top).map_err(failed)?.st_dev;
    let mut levels = vec![Level::new(top, 0, order).map_err(failed)?];
    let mut path: Vec<u8> = Vec::new();
    let max_depth = max_depth();
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else {
            return Ok(());
        };
        path.truncate(level.path);
        let name = match level.next() {
            None => {
                levels.pop();
                continue;
            }
            Some(Ok(name)) => name,
            // The rest of this directory cannot be read.
            Some(Err(errno)) => {
                let unread = Entry {
                    path: ByteString(path.clone()),
                    error: Some(RemoteError::of(ErrorStage::File, "reading", errno)),
                    ..Entry::default()
                };
                visit(&level.directory, c".", unread)?;
                levels.pop();
                continue;
            }
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let mut entry = files::entry(&level.directory, &name, ByteString(path.clone()));
        let below = entry.stat.as_ref().is_some_and(|stat| {
            stat.kind == FileKind::Directory && !(one_file_system && stat.device != device)
        });
        visit(&level.directory, &name, entry.clone())?;
        if !below {
            continue;
        }
        match enter(level, &name, (path.len(), order), depth, max_depth) {
            Ok(level) => levels.push(level),
            Err(errno) => {
                let Some(level) = levels.last() else { continue };
                entry.error = Some(RemoteError::of(ErrorStage::File, "entering", errno));
                visit(&level.directory, &name, entry)?;
            }
        }
    }
}

fn enter(
    level: &Level,
    name: &CStr,
    (path, order): (usize, Order),
    depth: usize,
    limit: usize,
) -> Result<Level, Errno> {
    if depth >= limit {
        return Err(Errno::ENAMETOOLONG);
    }
    let directory = openat(level.directory.as_fd(), name, DIRECTORY, Mode::empty())?;
    Level::new(directory, path, order)
}

/// The depth for which there are descriptors, two a level. Raises the soft limit if necessary.
fn max_depth() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 100;
    };
    let wanted = hard.min(2 * MAX_DEPTH as u64 + 100);
    // If this fails, opening a directory reports it.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    MAX_DEPTH.min((wanted as usize).saturating_sub(50) / 2)
}
