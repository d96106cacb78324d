//! Files of a guest, or of an image: parameters and results.

use serde::{Deserialize, Serialize};

use super::data::Data;

/// Writes a file, or copies a file or tree of this host into the guest.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// The machine; default the first.
    pub machine: Option<String>,
    /// The file in the guest, absolute. Missing directories above it are created.
    pub path: Data,
    /// The content of the file. An existing file is replaced.
    pub content: Option<Data>,
    /// Instead of `content`: a file or tree of this host. As with cp -r, it goes into `path` if that
    /// is a directory or ends with a slash, else it gets the name `path`.
    pub source: Option<String>,
    /// Permission bits of a file with `content`, such as 420 for rw-r--r--; default that.
    pub mode: Option<u32>,
    /// Numbers of the owner and group of a file with `content`; default 0, root.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

/// Copies a file or tree of the guest to this host. Its owner is the user of bivouac there.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The machine; default the first.
    pub machine: Option<String>,
    /// The file or tree in the guest.
    pub path: Data,
    /// Where it goes on this host, as with cp -r: into a directory, or else under that name.
    pub target: String,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

/// How many files were copied.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Copied {
    /// Files, directories and links.
    pub files: u64,
}

/// Reads a part of a regular file or block device.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The machine; default the first.
    pub machine: Option<String>,
    pub path: Data,
    /// Where to begin, in bytes.
    #[serde(default)]
    pub offset: u64,
    /// How many bytes to read; default 1 MiB, at most 16 MiB.
    pub limit: Option<u64>,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReadResult {
    pub data: Data,
    /// Where the next read goes on: `offset` and the number of bytes of `data`.
    pub next: u64,
    /// Whether the file ends here.
    pub eof: bool,
}

/// Tells what a file is.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Stat {
    /// The machine; default the first.
    pub machine: Option<String>,
    pub path: Data,
    /// Follows a symbolic link at the end of the path; default true.
    pub follow: Option<bool>,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

/// The result of stat(2).
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileStat {
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    pub links: u64,
    pub uid: u32,
    pub gid: u32,
    /// In bytes.
    pub size: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    /// Seconds since 1970 and nanoseconds, as are the other times.
    pub mtime: (i64, u32),
    pub atime: (i64, u32),
    pub ctime: (i64, u32),
    pub device: u64,
    pub inode: u64,
    /// Major and minor number of a device file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub special: Option<(u64, u64)>,
    /// The target of a symbolic link that was not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Data>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FileType {
    File,
    Directory,
    Link,
    Block,
    Character,
    Fifo,
    Socket,
    Other,
}

/// Lists a directory.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The machine; default the first.
    pub machine: Option<String>,
    pub path: Data,
    /// Lists everything below it, too, each directory before what it holds, and the directory
    /// itself with an empty name.
    #[serde(default)]
    pub recursive: bool,
    /// How many entries the result holds; default 10,000, at most 100,000.
    pub limit: Option<usize>,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListResult {
    /// Not sorted.
    pub entries: Vec<Entry>,
    /// Whether there are more than `limit`, or than 16 MiB of names.
    pub truncated: bool,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Entry {
    /// Its name; if `recursive`, its path below the directory.
    pub name: Data,
    /// Links are not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stat: Option<FileStat>,
    /// Why it, or what is below it, could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
