//! A tree, entry by entry, in constant memory: no list of names is ever held, only one open
//! directory for each level. Symbolic links are not followed; each step is one name of an open
//! directory, so a tree that changes meanwhile leads nowhere else.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use super::files;
use crate::guest::wire::{ByteString, Entry, ErrorStage, FileKind, RemoteError};

/// How deep a tree may be; what is below is reported as an error of its directory.
const DEEPEST: usize = 400;

/// Opens a directory, never through a link.
pub const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

struct Level {
    directory: OwnedFd,
    names: OwningIter,
    /// How long the path of the directory is.
    path: usize,
}

impl Level {
    fn new(directory: OwnedFd, path: usize) -> Result<Self, Errno> {
        let copy = nix::unistd::dup(&directory)?;
        let names = Dir::from_fd(copy)?.into_iter();
        Ok(Self {
            directory,
            names,
            path,
        })
    }

    fn next(&mut self) -> Option<Result<CString, Errno>> {
        loop {
            match self.names.next()? {
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Ok(entry) => return Some(Ok(entry.file_name().to_owned())),
                Err(errno) => return Some(Err(errno)),
            }
        }
    }
}

/// Gives the entries of a directory to `visit`, with the directory and the name.
///
/// # Errors
/// It cannot be read, or what `visit` says.
pub fn list(
    directory: OwnedFd,
    mut visit: impl FnMut(&OwnedFd, &CStr, Entry) -> Result<(), RemoteError>,
) -> Result<(), RemoteError> {
    let failed = |errno| RemoteError::of(ErrorStage::File, "the directory", errno as i32);
    let mut level = Level::new(directory, 0).map_err(failed)?;
    while let Some(name) = level.next() {
        let name = name.map_err(failed)?;
        let path = ByteString(name.to_bytes().to_owned());
        let entry = files::entry(&level.directory, &name, path);
        visit(&level.directory, &name, entry)?;
    }
    Ok(())
}

/// Gives everything below a directory to `visit`, parents first, with the directory that holds
/// it and the name. A directory that cannot be entered comes a second time, with its error.
///
/// # Errors
/// The directory itself cannot be read, or what `visit` says.
pub fn walk(
    top: OwnedFd,
    one_file_system: bool,
    mut visit: impl FnMut(&OwnedFd, &CStr, Entry) -> Result<(), RemoteError>,
) -> Result<(), RemoteError> {
    let failed = |errno| RemoteError::of(ErrorStage::File, "the directory", errno as i32);
    let device = fstat(&top).map_err(failed)?.st_dev;
    let mut levels = vec![Level::new(top, 0).map_err(failed)?];
    let mut path: Vec<u8> = Vec::new();
    let depth_limit = deepest();
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
            // Nothing more of this directory can be had.
            Some(Err(errno)) => {
                let whole = Entry {
                    path: ByteString(path.clone()),
                    stat: None,
                    link: None,
                    error: Some(RemoteError::of(ErrorStage::File, "reading", errno as i32)),
                };
                visit(&level.directory, c".", whole)?;
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
        match enter(level, &name, path.len(), depth, depth_limit) {
            Ok(level) => levels.push(level),
            Err(errno) => {
                let Some(level) = levels.last() else { continue };
                entry.error = Some(RemoteError::of(ErrorStage::File, "entering", errno as i32));
                visit(&level.directory, &name, entry)?;
            }
        }
    }
}

fn enter(
    level: &Level,
    name: &CStr,
    path: usize,
    depth: usize,
    limit: usize,
) -> Result<Level, Errno> {
    if depth >= limit {
        return Err(Errno::ENAMETOOLONG);
    }
    let directory = openat(level.directory.as_fd(), name, DIRECTORY, Mode::empty())?;
    Level::new(directory, path)
}

/// How deep the descriptors reach, two a level. The soft limit is raised as far as it may be.
fn deepest() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 100;
    };
    let wanted = hard.min(2 * DEEPEST as u64 + 100);
    // Only ever raised within its bounds.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    DEEPEST.min((wanted as usize).saturating_sub(50) / 2)
}
