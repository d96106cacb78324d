//! The formats other than raw and qcow2: vmdk, vdi, vhdx, vpc, qed, parallels. It reads the
//! virtual size and checks that the file is complete by itself.
//!
//! These are accepted as single files only. A file that names another one is refused here,
//! before QEMU could open it. Nothing is allocated by a size that a header states.

mod error;
mod fixed_header;
mod vhdx;
mod vmdk;

pub(crate) use error::FormatError;

use crate::image::format::Format;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What a header is read from: a file, or bytes in a test.
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

/// The virtual size in bytes of the image in `file`, which is `length` bytes long and declared
/// as `format`. For raw and qcow2 this is an error.
pub fn virtual_size(
    format: Format,
    file: &(impl ReadAt + ?Sized),
    length: u64,
) -> Result<u64, FormatError> {
    let bytes = match format {
        Format::Raw | Format::Qcow2 => return Err(FormatError::NotThis(format)),
        Format::Vmdk => vmdk::virtual_size(file, length),
        Format::Vdi => fixed_header::vdi(file),
        Format::Vhdx => vhdx::virtual_size(file),
        Format::Vpc => fixed_header::vpc(file, length),
        Format::Qed => fixed_header::qed(file),
        Format::Parallels => fixed_header::parallels(file),
    }?;
    match bytes {
        0 => Err(FormatError::NoDisk),
        bytes if bytes > i64::MAX as u64 - (1 << 30) => Err(FormatError::DiskTooLarge),
        bytes => Ok(bytes),
    }
}

/// Reads `N` bytes of a header that is in `format`.
fn read<const N: usize>(
    file: &(impl ReadAt + ?Sized),
    offset: u64,
    format: Format,
) -> Result<[u8; N], FormatError> {
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
) -> Result<(), FormatError> {
    file.read_exact_at(buffer, offset)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => FormatError::Truncated(format),
            _ => FormatError::Read { format, source },
        })
}

#[cfg(test)]
mod tests;
