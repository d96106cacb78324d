//! What the agent reports about files. On the host this is untrusted: show it (escaped) and
//! compare it, but never open, create or allocate anything by it.

use serde::{Deserialize, Serialize};

use super::{ByteString, RemoteError};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    File,
    Directory,
    Link,
    Block,
    Character,
    Fifo,
    Socket,
    #[default]
    Other,
}

/// The result of stat(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// The type bits of st_mode.
    pub kind: FileKind,
    /// The permission bits of st_mode, set-id and sticky bits included.
    pub mode: u32,
    pub links: u64,
    pub uid: u32,
    pub gid: u32,
    /// st_size, in bytes.
    pub size: u64,
    /// st_blocks, in units of 512 bytes.
    pub blocks: u64,
    /// st_mtime: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    pub accessed: (i64, u32),
    pub changed: (i64, u32),
    pub device: u64,
    pub inode: u64,
    /// Major and minor number of a device file.
    pub special: Option<(u64, u64)>,
}

/// A record of the stream that `List` and `Walk` fill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name in its directory. For a walk: relative to where it began, and empty for that
    /// place itself.
    pub path: ByteString,
    /// The result of lstat(2), if it succeeded.
    pub stat: Option<Stat>,
    pub link: Option<ByteString>,
    /// Why this entry, or what is below it, could not be read.
    pub error: Option<RemoteError>,
}

impl Entry {
    /// How many bytes of text it holds. Limits on lists count this, because the number of entries
    /// says little about the memory they take.
    pub fn weight(&self) -> usize {
        let link = self.link.as_ref().map_or(0, |link| link.0.len());
        let error = self.error.as_ref().map_or(0, |error| error.text.len());
        self.path.0.len() + link + error
    }
}

/// What is wanted of the content of a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DigestKind {
    Nothing,
    /// A digest that only tells, with others of the same key, whether contents are equal: it takes a small
    /// part of the time of SHA-256, and who does not know the key cannot make two contents that have the same.
    /// What is zero takes no time where the filesystem has holes.
    Keyed,
    Sha256,
}

/// The key of [`DigestKind::Keyed`]: random, and used for one comparison.
pub type DigestKey = [u8; 16];

/// What stat(2) does not tell of a file: a record of the stream that `Details` fills.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The digest of a regular file's content that was asked for, in hexadecimal digits.
    pub digest: Option<String>,
    /// The extended attributes by name. Of a long value, its SHA-256.
    pub attributes: Attributes,
    /// What could not be read.
    pub error: Option<RemoteError>,
}

/// Extended attributes: names and values.
pub type Attributes = Vec<(ByteString, ByteString)>;

/// How much memory attributes take, in bytes. In a record, two bytes are enough for one.
pub fn weight_of(attributes: &Attributes) -> usize {
    let weight = |(name, value): &(ByteString, ByteString)| {
        name.0.len() + value.0.len() + size_of::<(ByteString, ByteString)>()
    };
    attributes.iter().map(weight).sum()
}

/// How much `ListTree` tells of each entry. Each tells all that the one before does, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TreeDetail {
    /// What their directory tells of files and links; of all others, as `Stats`.
    Names,
    /// All but extended attributes.
    Stats,
    Attributes,
}

/// A record of the stream that `ListTree` fills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TreeRecord {
    /// The entries that follow are those of this directory.
    Directory(ByteString),
    /// What the directory tells of an entry.
    Name {
        name: ByteString,
        kind: FileKind,
        inode: u64,
    },
    /// With the extended attributes, if they are asked for and not long.
    Entry(Entry, Option<Attributes>),
    /// These were all of them, or all that could be read.
    End(Option<RemoteError>),
}

/// The longest file that `Contents` sends, in bytes.
pub const MAX_CONTENT: u64 = 512 << 10;

/// What `Contents` sends in place of a length, of a file that is longer or could not be read.
pub const UNREAD: u64 = u64::MAX;

/// The result of statvfs(3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// f_frsize, in bytes: the unit of the block counts.
    pub block_size: u64,
    pub blocks: u64,
    /// f_bfree.
    pub free: u64,
    /// f_bavail: free for users other than root.
    pub available: u64,
    pub inodes: u64,
    /// f_ffree.
    pub inodes_free: u64,
    /// f_type of statfs(2).
    pub magic: u64,
}

/// Options of packing and unpacking a tar stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TarOptions {
    pub one_file_system: bool,
    /// Unpacking: restore owners from the stream instead of using the agent's.
    pub owners: bool,
    /// The name of the top entry. Default: its own.
    pub name: Option<ByteString>,
}
