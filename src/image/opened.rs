//! The file under a layer: opened once, read-only, and known by what the descriptor says.
//!
//! It is never opened for writing, never opened again by name, and never closed before the
//! layer is done with: what was checked is what QEMU reads.

use super::error::ChainError;
use super::format::Format;
use super::place::Place;
use crate::linux::file_id::FileId;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How much of a file's start is read at once; it holds all of nearly every header.
pub const HEAD: usize = 4096;

/// The kinds of file that there are; only the first two can be layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A block device: an LVM volume, a loop device, a partition.
    BlockDevice,
    /// A directory.
    Directory,
    /// A FIFO, on which QEMU would hang before its greeting.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
}

impl Kind {
    /// The kind that a stat call reports; a symbolic link cannot come out of one that follows.
    fn of(file_type: FileType) -> Self {
        if file_type.is_dir() {
            Self::Directory
        } else if file_type.is_fifo() {
            Self::Fifo
        } else if file_type.is_socket() {
            Self::Socket
        } else if file_type.is_char_device() {
            Self::CharDevice
        } else if file_type.is_block_device() {
            Self::BlockDevice
        } else {
            Self::File
        }
    }

    /// The kind in words, with its article.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::File => "a regular file",
            Self::BlockDevice => "a block device",
            Self::Directory => "a directory",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::CharDevice => "a character device",
        }
    }
}

/// An open file of which nothing but its kind and size is known yet.
#[derive(Debug)]
pub struct Opened {
    path: PathBuf,
    file: File,
    kind: Kind,
    identity: FileId,
    actual_size: u64,
}

impl Opened {
    /// Opens the file at `place` and refuses what cannot be a disk image: all but regular
    /// files and block devices, and whatever has no bytes.
    pub fn open(place: &Place) -> Result<Self, ChainError> {
        let path = &place.path;
        // The kind is asked for before the file is opened, because opening a device node can
        // do things (rewind a tape, arm a watchdog), and a header may name any node.
        let before = fs::metadata(path).map_err(|error| ChainError::opening(place, error))?;
        refuse_kind(Kind::of(before.file_type()), place)?;

        // O_NONBLOCK: should the file have become a FIFO since, open(2) does not hang.
        let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(path)
            .map_err(|error| ChainError::opening(place, error))?;

        // What counts is what the descriptor says.
        let reading = |source| ChainError::Read {
            place: place.clone(),
            source,
        };
        let metadata = file.metadata().map_err(reading)?;
        let kind = Kind::of(metadata.file_type());
        refuse_kind(kind, place)?;
        // It has done its work, and a CD drive answers reads differently under it.
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).map_err(|errno| reading(errno.into()))?;

        let size = size_of(&file, kind, &metadata).map_err(reading)?;
        if size == 0 {
            return Err(ChainError::Empty {
                place: place.clone(),
            });
        }
        Ok(Self {
            path: path.clone(),
            kind,
            identity: FileId {
                size,
                ..FileId::from(&metadata)
            },
            actual_size: if kind == Kind::BlockDevice {
                size
            } else {
                metadata.blocks() * 512
            },
            file,
        })
    }

    /// The path as spelled, absolute, symbolic links not resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for positioned reads.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// A regular file or a block device.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the file was when it was opened.
    pub fn identity(&self) -> FileId {
        self.identity
    }

    /// Bytes that the file takes on its file system; a device's size.
    pub fn actual_size(&self) -> u64 {
        self.actual_size
    }

    /// What the file is now, asked of the same descriptor.
    pub fn identity_now(&self) -> io::Result<FileId> {
        let metadata = self.file.metadata()?;
        Ok(FileId {
            size: size_of(&self.file, self.kind, &metadata)?,
            ..FileId::from(&metadata)
        })
    }

    /// The first bytes: [`HEAD`] of them, fewer where the file is shorter.
    pub fn head(&self) -> io::Result<Vec<u8>> {
        self.read_up_to(HEAD)
    }

    /// The first `limit` bytes, fewer where the file is shorter.
    pub fn read_up_to(&self, limit: usize) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.identity.size)
            .unwrap_or(limit)
            .min(limit);
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.file.read_at(&mut bytes[filled..], filled as u64) {
                // It shrank since it was opened.
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// The format that the content shows, given its `head`; `None` is "no signature".
    ///
    /// A fixed VHD has its signature only at its end, where a raw disk's guest may have put
    /// it as well: so it is looked for only in a file whose name promises it.
    pub fn content(&self, head: &[u8]) -> Option<Format> {
        let found = Format::recognised(head);
        if found.is_none() && Format::promised_by_name(&self.path) == Some(Format::Vpc) {
            let mut footer = [0; 8];
            let at = self.identity.size.checked_sub(512)?;
            self.file.read_exact_at(&mut footer, at).ok()?;
            return (&footer == b"conectix").then_some(Format::Vpc);
        }
        found
    }

    /// Whether an ISO 9660 volume descriptor stands where it belongs, at 32 KiB.
    pub fn is_iso(&self) -> bool {
        let mut identifier = [0; 5];
        self.file.read_exact_at(&mut identifier, 32769).is_ok() && &identifier == b"CD001"
    }

    /// Whether this is an ISO 9660 image that no firmware could boot as a disk: it has no boot
    /// sector (0x55 0xaa at 510), as "hybrid" images have.
    pub fn is_optical_only(&self) -> bool {
        let mut signature = [0; 2];
        let hybrid =
            self.file.read_exact_at(&mut signature, 510).is_ok() && signature == [0x55, 0xaa];
        self.is_iso() && !hybrid
    }

    /// Whether another process holds the image as a writer.
    ///
    /// QEMU's file driver tells others what it does by shared locks on single bytes (block/
    /// file-posix.c, RAW_LOCK_PERM_BASE 100): byte 101 for BLK_PERM_WRITE, 103 for
    /// BLK_PERM_RESIZE. A write lock that would conflict there means a writer. Nothing is
    /// locked by asking. A file system without such locks says "nobody".
    pub fn in_use(&self) -> bool {
        [101, 103].into_iter().any(|byte| {
            let mut lock = libc::flock {
                l_type: libc::F_WRLCK as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: byte,
                l_len: 1,
                l_pid: 0,
            };
            let asked = fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut lock));
            asked.is_ok() && lock.l_type != libc::F_UNLCK as libc::c_short
        })
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn refuse_kind(kind: Kind, place: &Place) -> Result<(), ChainError> {
    match kind {
        Kind::File | Kind::BlockDevice => Ok(()),
        kind => Err(ChainError::WrongKind {
            place: place.clone(),
            kind,
        }),
    }
}

/// Size in bytes: stat(2) says 0 for a block device, whose end lseek(2) finds.
fn size_of(mut file: &File, kind: Kind, metadata: &Metadata) -> io::Result<u64> {
    match kind {
        Kind::BlockDevice => {
            let size = file.seek(SeekFrom::End(0))?;
            file.rewind()?;
            Ok(size)
        }
        _ => Ok(metadata.len()),
    }
}
