//! Where files are made: a directory, and how what is below it is found.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

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

/// Opens a directory below a place, and makes what is missing of it. However deep it is, few
/// paths are looked up: a stream may have one that is deep with each of its members.
pub(super) fn enter(place: &impl Place, below: &Path) -> Result<OwnedFd, Errno> {
    match place.open(below, PLACE) {
        Err(Errno::ENOENT) => {}
        result => return result,
    }
    let names: Vec<_> = below.components().collect();
    let first = |count: usize| names[..count].iter().collect::<PathBuf>();
    // As many of them are there, and so many are not.
    let (mut there, mut missing) = (0, names.len());
    let mut directory = place.open(Path::new(""), PLACE)?;
    while missing - there > 1 {
        let middle = there.midpoint(missing);
        match place.open(&first(middle), PLACE) {
            Ok(found) => (there, directory) = (middle, found),
            Err(Errno::ENOENT) => missing = middle,
            Err(errno) => return Err(errno),
        }
    }
    for name in &names[there..] {
        let name = name.as_os_str();
        mkdirat(&directory, name, Mode::from_bits_truncate(0o755))?;
        let stay = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        directory = openat(&directory, name, PLACE | stay, Mode::empty())?;
    }
    Ok(directory)
}
