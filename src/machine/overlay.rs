//! An overlay: the unnamed file, on disk or in memory, that takes all writes to one disk. It is created
//! here, before QEMU runs and without a helper process; closing it frees its space.

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

#[derive(Clone, Debug)]
pub enum Place {
    Directory(Scratch),
    Memory,
}

impl Place {
    /// For messages: the directory, or `memory`.
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
pub(crate) const GEOMETRY: Geometry = Geometry {
    cluster_bits: 17,
    extended_l2: true,
};

#[derive(Debug)]
pub struct Overlay {
    name: String,
    file: File,
}

impl Overlay {
    /// Creates an overlay over the image at `backing`. `virtual_size` is in bytes, a multiple of 512.
    /// Its header records the backing file and format, although QEMU is given them explicitly.
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

    /// Nobody can write to it any more, QEMU included, if it is in memory.
    pub fn seal(&self, place: &Place) -> io::Result<()> {
        match place {
            Place::Directory(_) => Ok(()),
            Place::Memory => memfd::seal(&self.file),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn fd(&self) -> ChildFd {
        ChildFd(self.file.as_raw_fd())
    }

    /// The space that it takes now on its filesystem or in memory, in bytes.
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
