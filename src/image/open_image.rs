//! An image that is open already: its own file, a copy of one that is compressed or lies in an archive, or
//! one on another host.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::remote_image::RemoteImage;
use crate::linux::file_id::{FileId, FileStamp};

/// What is not opened again.
#[derive(Clone, Debug)]
pub enum OpenedImage {
    /// It was opened to see what it is.
    File(Arc<File>),
    /// It was packed.
    Copy(Arc<UnpackedCopy>),
    /// It is on another host.
    Remote(Arc<RemoteImage>),
}

impl OpenedImage {
    pub fn copy(&self) -> Option<&Arc<UnpackedCopy>> {
        match self {
            Self::Copy(copy) => Some(copy),
            Self::File(_) | Self::Remote(_) => None,
        }
    }
}

impl PartialEq for OpenedImage {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => Arc::ptr_eq(one, other),
            (Self::Copy(one), Self::Copy(other)) => Arc::ptr_eq(one, other),
            (Self::Remote(one), Self::Remote(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for OpenedImage {}

/// The bytes of an image, and what they were made of.
#[derive(Debug)]
pub struct UnpackedCopy {
    /// An unlinked file, or memory, that holds the image.
    pub file: File,
    /// What the user named, and which state of it was copied.
    pub original: File,
    pub stamp: FileStamp,
    /// What messages and reports call the image: `disk.qcow2.xz`, or `machine.ova/disk1.vmdk`.
    pub path: PathBuf,
    /// The name that it had before it was packed, whose extension may promise a format.
    pub name: PathBuf,
    /// The command that unpacks it.
    pub hint: String,
}

impl UnpackedCopy {
    /// What the original is now.
    pub fn original_now(&self) -> io::Result<FileId> {
        Ok(FileId::from(&self.original.metadata()?))
    }
}
