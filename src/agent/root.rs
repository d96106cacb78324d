//! Paths below the root directory of an image. The kernel resolves them (openat2(2),
//! RESOLVE_IN_ROOT): no symbolic link leads out, and an absolute one starts at that root.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::protocol::{ErrorStage, PathAt, RemoteError};

/// How often a lookup is repeated that a concurrent rename disturbed (openat2(2), EAGAIN).
const TRIES: usize = 100;
/// Limit on the bytes read of a text file.
const MAX_TEXT: u64 = 1 << 20;
const MAX_NAMES: usize = 10_000;
/// For reading a file that may turn out to be a FIFO or a terminal.
const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

/// Flags that open a directory, but not through a link.
pub(crate) const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

pub(crate) struct RootDir {
    directory: OwnedFd,
    /// This is the agent's own root, so a kernel without openat2(2) (before 5.6) can do without.
    is_own: bool,
}

impl RootDir {
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            directory: open(path, flags, Mode::empty())?,
            is_own: path == Path::new("/"),
        })
    }

    /// Opens the root that a request names by its absolute path.
    pub(crate) fn of_request(path: &Path) -> Result<Self, RemoteError> {
        if !path.is_absolute() {
            let text = "the root must be absolute";
            return Err(RemoteError::new(ErrorStage::Root, text));
        }
        Self::open(path).map_err(|errno| RemoteError::of(ErrorStage::Root, path.display(), errno))
    }

    pub(crate) fn open_below(
        &self,
        path: impl AsRef<Path>,
        flags: OFlag,
    ) -> Result<OwnedFd, Errno> {
        let path = match path.as_ref() {
            path if path.as_os_str().is_empty() => Path::new("/"),
            path => path,
        };
        let flags = flags | OFlag::O_CLOEXEC;
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(flags).resolve(resolve);
        for _ in 0..TRIES {
            match openat2(&self.directory, path, how) {
                Err(Errno::EAGAIN) => {}
                Err(Errno::ENOSYS) if self.is_own => {
                    let relative = match path.strip_prefix("/").unwrap_or(path) {
                        path if path.as_os_str().is_empty() => Path::new("."),
                        path => path,
                    };
                    return openat(&self.directory, relative, flags, Mode::empty());
                }
                result => return result,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Opens a file of any type as a location only (O_PATH), which has no side effects.
    pub(crate) fn locate(&self, path: impl AsRef<Path>) -> Result<OwnedFd, Errno> {
        self.open_below(path, OFlag::O_PATH)
    }

    /// Whether a file exists. Links are followed.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.locate(path).is_ok()
    }

    pub(crate) fn has_directory(&self, path: &str) -> bool {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        self.open_below(path, flags).is_ok()
    }

    pub(crate) fn is_same(&self, one: &str, other: &str) -> bool {
        let id = |path| {
            let stat = fstat(self.locate(path).ok()?).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        id(one).is_some_and(|one| Some(one) == id(other))
    }

    /// Opens a regular file. The type is checked first: opening a device or a FIFO has side
    /// effects.
    pub(crate) fn open_regular(&self, path: &str, flags: OFlag) -> Result<File, Errno> {
        let stat = fstat(self.locate(path)?)?;
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => self.open_below(path, flags).map(File::from),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The start of a regular file as text, without NUL characters; `None` if there is no such
    /// file.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let file = self.open_regular(path, READ).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_TEXT).read_to_end(&mut bytes).ok()?;
        bytes.retain(|byte| *byte != 0);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The first bytes of a regular file.
    pub(crate) fn head<const N: usize>(&self, path: &str) -> Option<[u8; N]> {
        let mut head = [0; N];
        let mut file = self.open_regular(path, READ).ok()?;
        file.read_exact(&mut head).ok()?;
        Some(head)
    }

    /// The names in a directory, sorted; empty if there is no such directory.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory = self.open_below(path, flags).and_then(Dir::from_fd);
        let mut names: Vec<String> = directory
            .into_iter()
            .flatten()
            .flatten()
            .take(MAX_NAMES)
            .filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned()))
            .filter(|name| name != "." && name != "..")
            .collect();
        names.sort();
        names
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

pub(crate) fn open_at(at: &PathAt, flags: OFlag) -> Result<OwnedFd, RemoteError> {
    RootDir::of_request(at.root.as_path())?
        .open_below(at.path.as_path(), flags)
        .map_err(|errno| failed(at, errno))
}

/// The error for the file that `at` names.
pub(crate) fn failed(at: &PathAt, error: impl Into<io::Error>) -> RemoteError {
    RemoteError::of(ErrorStage::File, at.path.as_path().display(), error)
}
