//! The directory below which a stream is unpacked, and how paths below it are opened.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

pub(super) const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);
const STAY: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC);

pub trait TargetDir {
    /// Opens a directory below it; the empty path is the directory itself.
    fn open(&self, below: &Path, flags: OFlag) -> Result<OwnedFd, Errno>;
}

/// A directory of this host. No link below it is followed, whoever created it.
#[derive(Debug)]
pub struct BeneathDir(OwnedFd);

impl BeneathDir {
    /// Opens the directory at `path`; links in `path` are followed.
    pub fn at(path: &Path) -> Result<Self, Errno> {
        nix::fcntl::open(path, PLACE | OFlag::O_CLOEXEC, Mode::empty()).map(Self)
    }

    /// Opens the directory at `path`, in which no link is followed.
    pub fn at_without_links(path: &Path) -> Result<Self, Errno> {
        Self::at(Path::new("."))?.below(path)
    }

    /// Opens a directory below it; the empty path is the directory itself.
    pub fn below(&self, path: &Path) -> Result<Self, Errno> {
        self.open(path, PLACE).map(Self)
    }
}

impl TargetDir for BeneathDir {
    fn open(&self, below: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let mut here = openat(&self.0, ".", PLACE | STAY, Mode::empty())?;
        for part in below.components() {
            here = openat(&here, part.as_os_str(), PLACE | STAY, Mode::empty())?;
        }
        openat(&here, ".", flags | STAY, Mode::empty())
    }
}

/// Opens a directory below a target and creates what is missing of its path. A binary search finds
/// where that begins: a stream may have a deep path with each of its members.
pub(super) fn enter(target: &impl TargetDir, below: &Path) -> Result<OwnedFd, Errno> {
    match target.open(below, PLACE) {
        Err(Errno::ENOENT) => {}
        result => return result,
    }
    let names: Vec<_> = below.components().collect();
    let first = |count: usize| names[..count].iter().collect::<PathBuf>();
    // The first `there` names exist, the first `missing` do not.
    let (mut there, mut missing) = (0, names.len());
    let mut directory = target.open(Path::new(""), PLACE)?;
    while missing - there > 1 {
        let middle = there.midpoint(missing);
        match target.open(&first(middle), PLACE) {
            Ok(found) => (there, directory) = (middle, found),
            Err(Errno::ENOENT) => missing = middle,
            Err(errno) => return Err(errno),
        }
    }
    for name in &names[there..] {
        let name = name.as_os_str();
        mkdirat(&directory, name, Mode::from_bits_truncate(0o755))?;
        directory = openat(&directory, name, PLACE | STAY, Mode::empty())?;
    }
    Ok(directory)
}
