//! A copy that is opened in the place of an image: of one that is compressed, or lies in an archive.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::linux::file_id::{FileId, FileStamp};

/// An image that was opened to see what it is, so that nobody opens it again.
#[derive(Clone, Debug)]
pub struct OpenedImage(pub Arc<File>);

impl PartialEq for OpenedImage {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
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

impl PartialEq for UnpackedCopy {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.stamp) == (&other.path, other.stamp)
    }
}

impl Eq for UnpackedCopy {}
