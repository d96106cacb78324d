//! What a machine has changed on its disks: parameters and results.

use serde::{Deserialize, Serialize};

use super::data::Data;
use super::files::FileType;

/// Shows what a machine has changed on its disks since it was started, branched, put back or saved
/// last. It stands still meanwhile.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Diff {
    /// The machine; default the first.
    pub machine: Option<String>,
    /// Has the content of text files as a unified diff.
    #[serde(default)]
    pub content: bool,
    /// Has noise, too: times alone, logs, caches, ids.
    #[serde(default)]
    pub all: bool,
    /// How many changes the result holds; default 10,000, at most 100,000.
    pub limit: Option<usize>,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DiffResult {
    /// By filesystems, and in the order of their paths.
    pub changes: Vec<Change>,
    /// Whether there are more than `limit`, or than 16 MiB of text.
    pub truncated: bool,
    /// How many changes were left out as noise.
    pub left_out: u64,
    /// How much could not be compared; each is named on standard error.
    pub unread: u64,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Change {
    /// The device of the filesystem, if the system does not mount it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<String>,
    /// From the root, or from the top of that filesystem.
    pub path: Data,
    pub change: ChangeKind,
    /// In what a modified file differs.
    pub what: Vec<Aspect>,
    /// The file before, unless it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<ChangedFile>,
    /// The file after, unless it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<ChangedFile>,
    /// The content as a unified diff, if that was asked for and the file is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    Added,
    Removed,
    Modified,
}

/// A property in which two states of a file differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    Type,
    Mode,
    Owner,
    Size,
    Content,
    /// The target of a symbolic link.
    Link,
    /// The numbers of a device file.
    Device,
    Xattrs,
    /// The time of the last modification.
    Times,
    /// A whole filesystem.
    Filesystem,
}

/// What is known of a file on one side; members as in the result of `stat`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChangedFile {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<FileType>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: (i64, u32),
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Data>,
}
