//! The directories of files that are named by their paths.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::root::RootDir;

/// Directories that files are in. Those of a sorted tree follow one another in the same, as a rule.
pub(super) struct Parents<'a> {
    root: &'a RootDir,
    last: Option<(&'a Path, OwnedFd)>,
}

impl<'a> Parents<'a> {
    pub(super) fn below(root: &'a RootDir) -> Self {
        Self { root, last: None }
    }

    /// The directory of a file, and the file's name in it.
    pub(super) fn open(&mut self, path: &'a Path) -> Result<(&OwnedFd, CString), Errno> {
        let is_last = |(last, _): &(&Path, OwnedFd)| Some(*last) == path.parent();
        let directory = match self.last.take().filter(is_last) {
            Some(last) => last,
            None => (parent(path), open_parent(self.root, path)?),
        };
        let (_, directory) = self.last.insert(directory);
        Ok((directory, name(path)?))
    }
}

/// The directory that a file below `root` is in.
pub(super) fn open_parent(root: &RootDir, path: &Path) -> Result<OwnedFd, Errno> {
    root.open_below(parent(path), OFlag::O_PATH | OFlag::O_DIRECTORY)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// The name of a file in its directory. The top has none in another one.
pub(super) fn name(path: &Path) -> Result<CString, Errno> {
    let name = path.file_name().unwrap_or_else(|| ".".as_ref());
    CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)
}
