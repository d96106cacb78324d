//! Which file it is, and which state of it, by what stat(2) says.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// A file and the state of its content: equal twice if nobody wrote to it between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    pub dev: u64,
    pub ino: u64,
    /// The device that a block device's node stands for; 0 for a regular file.
    pub rdev: u64,
    /// Size in bytes; 0 for a block device, unless the caller sets it.
    pub size: u64,
    /// Time of the last change of the content: seconds since 1970.
    pub mtime: i64,
    pub mtime_nsec: i64,
}

impl FileId {
    /// Of no file of this host, but of what this process has under a number.
    pub fn of_remote(number: u64, size: u64) -> Self {
        Self {
            dev: u64::MAX,
            ino: number,
            rdev: 0,
            size,
            mtime: 0,
            mtime_nsec: 0,
        }
    }

    /// Whether both are the same file or the same device, whatever its state.
    pub fn same_file(&self, other: &Self) -> bool {
        match (self.rdev, other.rdev) {
            (0, 0) => (self.dev, self.ino) == (other.dev, other.ino),
            (one, two) => one == two,
        }
    }
}

impl From<&Metadata> for FileId {
    fn from(found: &Metadata) -> Self {
        Self {
            dev: found.dev(),
            ino: found.ino(),
            rdev: found.rdev(),
            size: found.len(),
            mtime: found.mtime(),
            mtime_nsec: found.mtime_nsec(),
        }
    }
}

/// A [`FileId`] with the time of the last change of the inode (ctime). Programs cannot set that
/// time, so a file that was changed in place, restored from a copy or replaced has another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    #[serde(flatten)]
    id: FileId,
    ctime: i64,
    ctime_nsec: i64,
}

impl FileStamp {
    /// Without the time of the inode.
    pub fn id(&self) -> FileId {
        self.id
    }

    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }
}

impl From<FileId> for FileStamp {
    /// Without a time of the inode.
    fn from(id: FileId) -> Self {
        Self {
            id,
            ctime: 0,
            ctime_nsec: 0,
        }
    }
}

impl From<&Metadata> for FileStamp {
    fn from(found: &Metadata) -> Self {
        Self {
            id: found.into(),
            ctime: found.ctime(),
            ctime_nsec: found.ctime_nsec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_changes_with_the_inode_and_survives_json() {
        let file = tempfile::tempfile().unwrap();
        let before = FileStamp::of(&file).unwrap();
        let json = serde_json::to_string(&before).unwrap();
        assert_eq!(serde_json::from_str::<FileStamp>(&json).unwrap(), before);
        // The clock of a filesystem ticks every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(20));
        nix::sys::stat::fchmod(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let after = FileStamp::of(&file).unwrap();
        assert_ne!(after, before);
        assert_eq!(after.id, before.id);
        assert!(after.id.same_file(&before.id));
    }
}
