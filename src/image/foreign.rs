//! Formats of other makers (vmdk, vdi, vhdx, vpc) and of the past (qed, parallels): the
//! virtual size, and whether the file stands alone.
//!
//! These are accepted as single files only. A file that names another one is refused here,
//! before QEMU could follow the name. Nothing is allocated by a size that a header states.

mod flat;
mod vhdx;
mod vmdk;

use crate::image::Format;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What a foreign header is read from: a file, or bytes in a test.
pub trait ReadAt {
    /// Fills `buffer` from `offset`; [`io::ErrorKind::UnexpectedEof`] where the file is too short.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = usize::try_from(offset).ok().and_then(|start| {
            let end = start.checked_add(buffer.len())?;
            self.get(start..end)
        });
        let bytes = range.ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// Why a file in a foreign format is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// The signature of the format that was told is missing.
    #[error("it is not a {0} image: the signature is missing")]
    NotThis(Format),
    /// The file ends inside its metadata.
    #[error("the file ends before its {0} header does")]
    Truncated(Format),
    /// The file could not be read.
    #[error("its {format} header cannot be read")]
    Read {
        /// The format that was being read.
        format: Format,
        /// What the system said.
        source: io::Error,
    },
    /// A version that is not known here.
    #[error("its {format} version {version} is not known")]
    Version {
        /// The format.
        format: Format,
        /// The version as the header has it.
        version: u32,
    },
    /// Metadata that contradicts itself.
    #[error("its {format} header is malformed: {what}")]
    Malformed {
        /// The format.
        format: Format,
        /// What does not fit.
        what: &'static str,
    },
    /// A text file that lists the files which hold the disk.
    #[error(
        "it is a vmdk descriptor, a text file that names the files which hold the disk; only single-file vmdk images are accepted"
    )]
    VmdkDescriptor,
    /// A vmdk file with a part of a disk.
    #[error(
        "it is one extent of a vmdk disk in several files; only single-file vmdk images are accepted"
    )]
    VmdkExtent,
    /// A header that makes QEMU open what the descriptor names.
    #[error(
        "its vmdk header states a capacity of 0, which makes QEMU open the files that its descriptor names"
    )]
    VmdkObeysDescriptor,
    /// A vmdk of a kind that spreads over files.
    #[error("it is a vmdk of type {0:?}; only monolithicSparse and streamOptimized are accepted")]
    VmdkType(String),
    /// A sparse vmdk extent whose embedded descriptor names other files.
    #[error("its embedded vmdk descriptor names another file: {0:?}")]
    VmdkNamesFile(String),
    /// A differencing image.
    #[error(
        "it is a differencing {0} image, which needs its parent; only single files are accepted"
    )]
    HasParent(Format),
    /// A disk of no size.
    #[error("its virtual size is 0: there is no disk in it")]
    NoDisk,
    /// A disk larger than QEMU's limit.
    #[error("its virtual size is larger than any disk can be")]
    DiskTooLarge,
}

/// The virtual size in bytes of the image in `file`, which is `length` bytes long and is
/// believed to be in `format`.
///
/// Raw and qcow2 are not foreign: for them this is [`ForeignError::NotThis`].
pub fn virtual_size(
    format: Format,
    file: &(impl ReadAt + ?Sized),
    length: u64,
) -> Result<u64, ForeignError> {
    let bytes = match format {
        Format::Raw | Format::Qcow2 => return Err(ForeignError::NotThis(format)),
        Format::Vmdk => vmdk::virtual_size(file, length),
        Format::Vdi => flat::vdi(file),
        Format::Vhdx => vhdx::virtual_size(file),
        Format::Vpc => flat::vpc(file, length),
        Format::Qed => flat::qed(file),
        Format::Parallels => flat::parallels(file),
    }?;
    match bytes {
        0 => Err(ForeignError::NoDisk),
        bytes if bytes > i64::MAX as u64 - (1 << 30) => Err(ForeignError::DiskTooLarge),
        bytes => Ok(bytes),
    }
}

/// Reads `N` bytes of a header that is in `format`.
fn read<const N: usize>(
    file: &(impl ReadAt + ?Sized),
    offset: u64,
    format: Format,
) -> Result<[u8; N], ForeignError> {
    let mut bytes = [0; N];
    read_into(file, &mut bytes, offset, format)?;
    Ok(bytes)
}

/// Fills `buffer` with bytes of a header that is in `format`.
fn read_into(
    file: &(impl ReadAt + ?Sized),
    buffer: &mut [u8],
    offset: u64,
    format: Format,
) -> Result<(), ForeignError> {
    file.read_exact_at(buffer, offset)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => ForeignError::Truncated(format),
            _ => ForeignError::Read { format, source },
        })
}

#[cfg(test)]
mod tests;
