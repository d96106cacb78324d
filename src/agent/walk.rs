//! Walks a directory tree in constant memory: one open directory for each level, and no list of
//! all names unless they are to be sorted. Symbolic links are not followed, and each step opens one
//! name in an open directory, so a tree that changes meanwhile cannot lead out of it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use super::files;
use crate::protocol::{ByteString, Entry, ErrorStage, FileKind, RemoteError};

/// Limit on the depth. A directory below it is reported with an error.
const MAX_DEPTH: usize = 400;

/// How many other descriptors a process that walks may have: those of a batch of files, and of the directories
/// that these are in.
const OTHERS: u64 = 2 * super::gather::AT_ONCE as u64 + 50;

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
}

enum Names {
    Unread(OwningIter),
    Sorted(std::vec::IntoIter<Result<CString, Errno>>),
}

struct Level {
    directory: Rc<OwnedFd>,
    names: Names,
    /// The length of the directory's path.
    path: usize,
}

impl Level {
    fn new(directory: Rc<OwnedFd>, path: usize, order: Order) -> Result<Self, Errno> {
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
        }
    }
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
    let mut level = Level::new(directory.into(), 0, Order::Any).map_err(failed)?;
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
    top: Rc<OwnedFd>,
    one_file_system: bool,
    order: Order,
    mut visit: impl FnMut(&Rc<OwnedFd>, &CStr, Entry) -> Result<(), RemoteError>,
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
    Level::new(directory.into(), path, order)
}

/// The depth for which there are descriptors, two a level. Raises the soft limit if necessary.
fn max_depth() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 100;
    };
    let wanted = hard.min(2 * MAX_DEPTH as u64 + OTHERS);
    // If this fails, opening a directory reports it.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    MAX_DEPTH.min(wanted.saturating_sub(OTHERS) as usize / 2)
}
