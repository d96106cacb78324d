//! The unlinked file that takes every write of the guest. It is made here, before QEMU runs,
//! with no helper process, and it never has a name; closing it gives its space back.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::plan::ChildFd;
use crate::host::scratch::Scratch;
use crate::image::Format;
use crate::image::qcow2::{EmptyOverlay, Geometry};
use crate::linux::memfd;

/// Where overlays are kept.
#[derive(Debug)]
pub enum Place {
    /// In a directory, unlinked.
    Directory(Scratch),
    /// In memory.
    Memory,
}

impl Place {
    /// A word for messages: the directory, or `memory`.
    pub fn name(&self) -> PathBuf {
        match self {
            Self::Directory(scratch) => scratch.directory().to_owned(),
            Self::Memory => PathBuf::from("memory"),
        }
    }
}

/// The geometry of every overlay: subclusters of 4 KiB, a guest's own block size, so that a
/// small write copies nothing from the base.
///
/// Measured by scripts/bench-overlay on an idle machine (QEMU 7.2, TCG, flushes ignored):
/// 1000 scattered, flushed writes of 4 KiB took 0.59 s and 5 MiB of overlay; with plain 64 KiB
/// clusters 0.74 s and 62 MiB, with 128 KiB 0.91 s and 119 MiB, with 2 MiB 6.1 s and 903 MiB.
/// 64 KiB with extended L2 is as good (0.59 s, 5 MiB), but its subclusters are of 2 KiB. Writes
/// of 256 MiB in a row took about 4 s in every shape. Obeying flushes costs three times as much
/// for small writes (1.8 s), whatever the shape.
const GEOMETRY: Geometry = Geometry {
    cluster_bits: 17,
    extended_l2: true,
};

/// An overlay over one image.
#[derive(Debug)]
pub struct Overlay {
    name: String,
    file: File,
}

impl Overlay {
    /// A new overlay called `name`, of `virtual_size` bytes, a multiple of 512, over the image at `backing`
    /// of the given format. Its header records both, though QEMU is told them anyway.
    pub fn create(
        name: &str,
        place: &Place,
        virtual_size: u64,
        backing: &Path,
        format: Format,
    ) -> io::Result<Self> {
        let file = match place {
            Place::Directory(scratch) => scratch.unnamed_file()?,
            Place::Memory => memfd::create(c"bivouac-overlay")?,
        };
        EmptyOverlay {
            virtual_size,
            backing_file: backing.as_os_str().as_bytes(),
            backing_format: format,
            geometry: GEOMETRY,
        }
        .write_to(&file)?;
        Ok(Self {
            name: name.to_owned(),
            file,
        })
    }

    /// Its node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number under which QEMU inherits it.
    pub fn fd(&self) -> ChildFd {
        ChildFd(self.file.as_raw_fd())
    }

    /// Bytes that it takes now on its filesystem or in memory.
    pub fn allocated(&self) -> io::Result<u64> {
        // st_blocks counts units of 512 bytes whatever the filesystem's block size (stat(2)).
        self.file.metadata().map(|metadata| metadata.blocks() * 512)
    }
}

impl AsFd for Overlay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
