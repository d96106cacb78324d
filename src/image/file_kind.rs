//! The kinds of file that an image's path can lead to.

use std::fmt;
use std::fs::FileType;
use std::os::unix::fs::FileTypeExt;

/// What stat(2) says that a file is. Only regular files and block devices can be layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    File,
    /// An LVM volume, a loop device, a partition.
    BlockDevice,
    Directory,
    /// QEMU would hang on it before its greeting.
    Fifo,
    Socket,
    CharDevice,
}

impl From<FileType> for FileKind {
    /// `file_type` comes from a stat call that follows symbolic links.
    fn from(file_type: FileType) -> Self {
        match () {
            () if file_type.is_dir() => Self::Directory,
            () if file_type.is_fifo() => Self::Fifo,
            () if file_type.is_socket() => Self::Socket,
            () if file_type.is_char_device() => Self::CharDevice,
            () if file_type.is_block_device() => Self::BlockDevice,
            () => Self::File,
        }
    }
}

impl fmt::Display for FileKind {
    /// The kind with its article.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a regular file",
            Self::BlockDevice => "a block device",
            Self::Directory => "a directory",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::CharDevice => "a character device",
        })
    }
}
