//! What the agent tells about files. On the host these are claims of a stranger: to be shown
//! (escaped) and compared, never to be opened, created or allocated by.

use serde::{Deserialize, Serialize};

use super::{ByteString, RemoteError};

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A block device.
    Block,
    /// A character device.
    Character,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// None of these.
    Other,
}

/// stat(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// From st_mode.
    pub kind: FileKind,
    /// The permission bits, set-id and sticky bits included.
    pub mode: u32,
    /// st_nlink.
    pub links: u64,
    /// st_uid.
    pub uid: u32,
    /// st_gid.
    pub gid: u32,
    /// st_size, in bytes.
    pub size: u64,
    /// st_blocks, in units of 512 bytes.
    pub blocks: u64,
    /// st_mtime: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// st_atime.
    pub accessed: (i64, u32),
    /// st_ctime.
    pub changed: (i64, u32),
    /// st_dev.
    pub device: u64,
    /// st_ino.
    pub inode: u64,
    /// Major and minor number, of a device file.
    pub special: Option<(u64, u64)>,
}

/// One line, in JSON, of the stream that `List` and `Walk` fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name in its directory; for a walk, relative to where it began, and empty for the
    /// place itself.
    pub path: ByteString,
    /// lstat(2), where it worked.
    pub stat: Option<Stat>,
    /// Where a symbolic link leads.
    pub link: Option<ByteString>,
    /// What went wrong with this entry: it, or what is below it, could not be looked at.
    pub error: Option<RemoteError>,
}

impl Entry {
    /// How many bytes of text it holds: what is kept of a list must end somewhere, and the number
    /// of its entries alone says little.
    pub fn weight(&self) -> usize {
        let link = self.link.as_ref().map_or(0, |link| link.0.len());
        let error = self.error.as_ref().map_or(0, |said| said.text.len());
        self.path.0.len() + link + error
    }
}

/// statvfs(3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// f_frsize, in bytes: the unit of what follows.
    pub block_size: u64,
    /// f_blocks.
    pub blocks: u64,
    /// f_bfree.
    pub free: u64,
    /// f_bavail: free for users other than root.
    pub available: u64,
    /// f_files.
    pub inodes: u64,
    /// f_ffree.
    pub inodes_free: u64,
    /// f_type of statfs(2).
    pub magic: u64,
}

/// What of a tree goes into, or out of, a tar stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TarOptions {
    /// Stay on one filesystem.
    pub one_file_system: bool,
    /// Coming in: owners as they stand in the stream, rather than the agent's.
    pub owners: bool,
    /// The name of the top entry, where it is not its own.
    pub name: Option<ByteString>,
}
