//! Where files are made: a directory, and how what is below it is found.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// How a directory is opened that files are made in.
pub(super) const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// A directory that files are made below.
pub trait Place {
    /// Opens a directory below it; an empty path is itself.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, below: &Path, flags: OFlag) -> Result<OwnedFd, Errno>;
}

/// A directory of this host's. No link below it is followed at all, whoever made it.
#[derive(Debug)]
pub struct Beneath(OwnedFd);

impl Beneath {
    /// The one at a path, whose own links are the user's and are followed.
    ///
    /// # Errors
    /// It is no directory.
    pub fn at(path: &Path) -> Result<Self, Errno> {
        nix::fcntl::open(path, PLACE | OFlag::O_CLOEXEC, Mode::empty()).map(Self)
    }
}

impl Place for Beneath {
    fn open(&self, below: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let stay = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut here = openat(&self.0, ".", PLACE | stay, Mode::empty())?;
        for part in below.components() {
            here = openat(&here, part.as_os_str(), PLACE | stay, Mode::empty())?;
        }
        openat(&here, ".", flags | stay, Mode::empty())
    }
}
