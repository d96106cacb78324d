//! The formats other than raw and qcow2: vmdk, vdi, vhdx, vpc, qed, parallels. It reads the
//! virtual size and checks that the file is complete by itself.
//!
//! These are accepted as single files only. A file that names another one is refused here,
//! before QEMU could open it. So is one that QEMU would refuse when it opens it: the limits are
//! QEMU's. Nothing is allocated by a size that a header states.

mod crc32c;
mod cut_off;
mod error;
mod fixed_header;
mod vhdx;
mod vhdx_header;
mod vmdk;
mod vpc;

pub use cut_off::is_cut_off;
pub(crate) use error::FormatError;

use crate::image::format::Format;
use crate::linux::bytes::Fields;
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
        Format::Vhdx => vhdx::virtual_size(file, length),
        Format::Vpc => vpc::virtual_size(file, length),
        Format::Qed => fixed_header::qed(file, length),
        Format::Parallels => fixed_header::parallels(file),
    }?;
    match bytes {
        0 => Err(FormatError::NoDisk),
        bytes if bytes > MAX_OFFSET => Err(FormatError::DiskTooLarge),
        bytes => Ok(bytes),
    }
}

/// How many bytes less a QEMU before 10.0 shows of the image in `file`, which
/// [`virtual_size`] accepted.
pub fn lost_by_old_qemu(format: Format, file: &(impl ReadAt + ?Sized), length: u64) -> Option<u64> {
    let lost = (format == Format::Vpc).then(|| vpc::lost_by_old_qemu(file, length));
    lost.flatten().filter(|bytes| *bytes > 0)
}

/// QEMU refuses to read beyond this offset (BDRV_MAX_LENGTH in include/block/block-common.h): 2^63
/// rounded down to 1 GiB.
pub(super) const MAX_OFFSET: u64 = (i64::MAX as u64) & !((1 << 30) - 1);

/// As much of a table is checked: far more than any image has, in a time that nobody notices.
const MAX_TABLE: u64 = 64 << 20;

/// Calls `check` with the number of each of `count` entries in the table at `offset`, and the entry
/// itself, as long as they are in the first [`MAX_TABLE`] bytes.
fn each_entry<const N: usize>(
    file: &(impl ReadAt + ?Sized),
    offset: u64,
    count: u64,
    format: Format,
    mut check: impl FnMut(u64, [u8; N]),
) -> Result<(), FormatError> {
    let mut buffer = [0; 16 << 10];
    let end = count.min(MAX_TABLE / N as u64) * N as u64;
    let mut nth = 0;
    for start in (0..end).step_by(buffer.len()) {
        let part = &mut buffer[..(end - start).min(16 << 10) as usize];
        read_into(file, part, offset.saturating_add(start), format)?;
        for entry in part.chunks_exact(N) {
            check(nth, entry.get_array(0).unwrap_or([0; N]));
            nth += 1;
        }
    }
    Ok(())
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
    if offset > MAX_OFFSET {
        return Err(FormatError::Truncated(format));
    }
    file.read_exact_at(buffer, offset)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => FormatError::Truncated(format),
            _ => FormatError::Read { format, source },
        })
}

#[cfg(test)]
mod tests;
