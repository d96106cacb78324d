//! The file under a layer: opened once, read-only, and known by what the descriptor says.
//!
//! It is never opened for writing, never opened again by name, and stays open as long as the
//! layer is used: what was checked is what QEMU reads.

use super::error::ChainError;
use super::file_kind::FileKind;
use super::format::Format;
use super::formats::ReadAt;
use super::open_image::{OpenedImage, UnpackedCopy};
use super::origin::Origin;
use super::packed::{self, Packed};
use super::remote_image::{ImageData, RemoteImage};
use super::trust::Access;
use crate::linux::file_id::{FileId, FileStamp};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use std::fs::{self, File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many bytes of a file's start are read at first; nearly every header fits.
const HEAD: usize = 4096;

/// An open file of which nothing but its kind and size is known yet.
#[derive(Debug)]
pub struct ImageFile {
    /// Absolute, symbolic links not resolved.
    pub path: PathBuf,
    pub file: ImageData,
    /// A regular file or a block device.
    pub kind: FileKind,
    /// What the file was when it was opened; of a copy, what its original was when it was copied.
    pub identity: FileId,
    /// Its size in bytes when it was opened.
    pub length: u64,
    /// Bytes that the file takes on its file system; a device's size.
    pub actual_size: u64,
    /// Whose file this is, if it is a copy.
    pub copy: Option<Arc<UnpackedCopy>>,
}

impl ImageFile {
    /// Opens the file at `origin`. Refuses all but regular files and block devices, and what has
    /// no bytes.
    pub fn open(origin: &Origin) -> Result<Self, ChainError> {
        if let Access::Opened(OpenedImage::Remote(remote)) = &origin.access {
            return match remote.size() {
                0 => Err(ChainError::remote_empty(origin)),
                _ => Ok(Self::of_remote(Arc::clone(remote), origin)),
            };
        }
        // The kind is asked for before the file is opened, because opening a device node can
        // do things (rewind a tape, arm a watchdog), and a header may name any node.
        let path = &origin.path;
        let opening = |source| ChainError::opening(origin, source);
        let copy = origin.access.copy().cloned();
        if !origin.access.is_open() {
            let metadata = fs::metadata(path).map_err(opening)?;
            refuse_kind(metadata.file_type().into(), origin)?;
        }

        // O_NONBLOCK: should the file have become a FIFO since, open(2) does not hang.
        let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let file = (origin.access)
            .open(path, OFlag::O_RDONLY | flags)
            .map_err(opening)?;

        // The descriptor may be another file than the one that was asked about.
        let reading = |source| ChainError::reading(origin, source);
        let metadata = file.metadata().map_err(reading)?;
        let kind = FileKind::from(metadata.file_type());
        refuse_kind(kind, origin)?;
        // A CD drive answers reads differently under O_NONBLOCK.
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).map_err(|errno| reading(errno.into()))?;

        let own = identify(&file, kind, &metadata).map_err(reading)?;
        if own.size == 0 {
            return Err(ChainError::empty(origin));
        }
        let actual_size = match kind {
            FileKind::BlockDevice => own.size,
            _ => metadata.blocks() * 512,
        };
        Ok(Self {
            path: path.clone(),
            kind,
            identity: copy.as_ref().map_or(own, |copy| copy.stamp.id()),
            length: own.size,
            actual_size,
            file: ImageData::File(file),
            copy,
        })
    }

    fn of_remote(remote: Arc<RemoteImage>, origin: &Origin) -> Self {
        // No file of this host: each one is another.
        let identity = FileId::of_remote(remote.number(), remote.size());
        Self {
            path: origin.path.clone(),
            kind: FileKind::File,
            identity,
            length: remote.size(),
            actual_size: remote.size(),
            file: ImageData::Remote(remote),
            copy: None,
        }
    }

    fn local(&self) -> io::Result<&File> {
        match &self.file {
            ImageData::File(file) => Ok(file),
            ImageData::Remote(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "nobody knows whether the image of a server has changed",
            )),
        }
    }

    pub fn remote(&self) -> Option<&Arc<RemoteImage>> {
        match &self.file {
            ImageData::File(_) => None,
            ImageData::Remote(remote) => Some(remote),
        }
    }

    /// What the file is now, asked of the same descriptor; of a copy, what its original is.
    pub fn identity_now(&self) -> io::Result<FileId> {
        match &self.copy {
            Some(copy) => copy.original_now(),
            None => self.own_identity(),
        }
    }

    fn own_identity(&self) -> io::Result<FileId> {
        let file = self.local()?;
        identify(file, self.kind, &file.metadata()?)
    }

    /// Its size in bytes now.
    pub fn length_now(&self) -> io::Result<u64> {
        Ok(self.own_identity()?.size)
    }

    /// Which state of the file this is.
    pub fn stamp(&self) -> io::Result<FileStamp> {
        match &self.copy {
            Some(copy) => Ok(copy.stamp),
            None => match &self.file {
                ImageData::File(file) => FileStamp::of(file),
                // Good for as long as this process has it.
                ImageData::Remote(_) => Ok(self.identity.into()),
            },
        }
    }

    /// The name whose extension may promise a format.
    pub fn name(&self) -> &Path {
        match (&self.copy, &self.file) {
            (Some(copy), _) => &copy.name,
            (None, ImageData::Remote(remote)) => remote.name(),
            (None, ImageData::File(_)) => &self.path,
        }
    }

    /// The first bytes: [`HEAD`] of them, fewer where the file is shorter.
    pub fn head(&self) -> io::Result<Vec<u8>> {
        self.read_up_to(HEAD)
    }

    /// The first `limit` bytes, fewer where the file is shorter.
    pub fn read_up_to(&self, limit: usize) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.length).unwrap_or(limit).min(limit);
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

    /// The format that the content shows, given its `head`; `None` if there is no signature.
    ///
    /// A fixed VHD has its signature only at its end, where the guest of a raw disk may have put
    /// one: so it counts only in a file whose name promises it.
    pub fn content(&self, head: &[u8]) -> Option<Format> {
        let found = Format::recognised(head);
        if found.is_none() && Format::promised_by_name(self.name()) == Some(Format::Vpc) {
            let mut footer = [0; 8];
            let at = self.length.checked_sub(512)?;
            self.file.read_exact_at(&mut footer, at).ok()?;
            return (&footer == b"conectix").then_some(Format::Vpc);
        }
        found
    }

    /// What the file is packed in, given its `head`.
    pub fn packed(&self, head: &[u8]) -> Option<Packed> {
        packed::recognised(head).or_else(|| {
            let mut trailer = [0; 512];
            let at = self.length.checked_sub(512)?;
            self.file.read_exact_at(&mut trailer, at).ok()?;
            packed::is_dmg_trailer(&trailer).then_some(packed::DMG)
        })
    }

    /// Whether there is an ISO 9660 volume descriptor at 32 KiB.
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
    /// locked by asking. On a file system without such locks the answer is always no.
    pub fn in_use(&self) -> bool {
        let Ok(file) = self.local() else {
            return false;
        };
        [101, 103].into_iter().any(|byte| {
            let mut lock = libc::flock {
                l_type: libc::F_WRLCK as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: byte,
                l_len: 1,
                l_pid: 0,
            };
            let asked = fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock));
            asked.is_ok() && lock.l_type != libc::F_UNLCK as libc::c_short
        })
    }
}

fn refuse_kind(kind: FileKind, origin: &Origin) -> Result<(), ChainError> {
    match kind {
        FileKind::File | FileKind::BlockDevice if origin.access.admits(kind) => Ok(()),
        kind => Err(ChainError::wrong_kind(origin, kind)),
    }
}

/// What the file is now. stat(2) says 0 for the size of a block device, whose end lseek(2) finds.
fn identify(mut file: &File, kind: FileKind, metadata: &Metadata) -> io::Result<FileId> {
    let mut identity = FileId::from(metadata);
    if kind == FileKind::BlockDevice {
        identity.size = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
    }
    Ok(identity)
}
