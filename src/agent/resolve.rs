//! Paths below a root directory that is not ours: an image's. No link leads out of it, and an
//! absolute one begins at it. The kernel keeps this (openat2(2), RESOLVE_IN_ROOT).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::Mode;

use crate::guest::wire::{ErrorStage, PathAt, RemoteError};

/// How often a look-up is repeated that a rename elsewhere disturbed (openat2(2), EAGAIN).
const TRIES: usize = 100;

/// An open root directory.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    /// The root is the agent's own: a kernel before 5.6 can look up there as it always did.
    is_own: bool,
}

impl Root {
    /// Opens a root by its absolute path.
    ///
    /// # Errors
    /// What open(2) says; a path that is not absolute.
    pub fn open(path: &Path) -> Result<Self, RemoteError> {
        if !path.is_absolute() {
            return Err(RemoteError::new(
                ErrorStage::Root,
                "the root must be absolute",
            ));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match open(path, flags, Mode::empty()) {
            Ok(directory) => Ok(Self {
                directory,
                is_own: path == Path::new("/"),
            }),
            Err(errno) => Err(RemoteError::of(
                ErrorStage::Root,
                path.display(),
                errno as i32,
            )),
        }
    }

    /// Opens a path within.
    ///
    /// # Errors
    /// What openat2(2) says.
    pub fn look_up(&self, path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("/"),
            false => path,
        };
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(mode)
            .resolve(resolve);
        for _ in 0..TRIES {
            match openat2(&self.directory, path, how) {
                Err(Errno::EAGAIN) => {}
                Err(Errno::ENOSYS) if self.is_own => {
                    let within = path.strip_prefix("/").unwrap_or(path);
                    let within = match within.as_os_str().is_empty() {
                        true => Path::new("."),
                        false => within,
                    };
                    return openat(&self.directory, within, flags | OFlag::O_CLOEXEC, mode);
                }
                result => return result,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Reads a small file within, such as /etc/passwd: at most 1 MiB of it.
    ///
    /// # Errors
    /// What open(2) or read(2) say.
    pub fn read_small(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        use std::io::Read;
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = File::from(self.look_up(path, flags, Mode::empty())?);
        let mut bytes = Vec::new();
        let read = file.take(1 << 20).read_to_end(&mut bytes);
        read.map(|_| bytes)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Opens what `at` names.
///
/// # Errors
/// The root or the path cannot be opened so.
pub fn open_at(at: &PathAt, flags: OFlag) -> Result<OwnedFd, RemoteError> {
    Root::open(at.root.as_path())?
        .look_up(at.path.as_path(), flags, Mode::empty())
        .map_err(|errno| {
            RemoteError::of(ErrorStage::File, at.path.as_path().display(), errno as i32)
        })
}
