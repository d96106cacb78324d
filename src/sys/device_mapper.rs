//! The device-mapper's ioctl (<linux/dm-ioctl.h>), which neither nix nor libc has.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// A request to the device-mapper, with its number in the ioctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapperCommand {
    Create = 3,
    Remove = 4,
    /// Suspend a device, or resume it with the table that was loaded.
    Suspend = 6,
    Load = 9,
}

/// The size of `struct dm_ioctl`.
pub const MAPPER_HEADER: usize = 312;
const DATA_SIZE: usize = 12;

/// One request. `request` is a `struct dm_ioctl` followed by tables, in memory aligned for its
/// 64-bit fields. This function sets `data_size`; the answer overwrites `request`. A request that
/// is too short fails with InvalidInput.
pub fn device_mapper(
    control: BorrowedFd<'_>,
    command: MapperCommand,
    request: &mut [u64],
) -> io::Result<()> {
    let size = size_of_val(request);
    let declared = u32::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    if size < MAPPER_HEADER {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // `data_size` follows three 32-bit fields: it is the upper half of a 64-bit word.
    let word = &mut request[DATA_SIZE / 8];
    *word = (*word & 0xffff_ffff) | u64::from(declared) << 32;
    let code = nix::request_code_readwrite!(0xfd, command as u8, MAPPER_HEADER);
    // SAFETY: the kernel reads and writes no more than `data_size` bytes of the request, which
    // is the size of the slice that this function borrows exclusively.
    super::done(unsafe { libc::ioctl(control.as_raw_fd(), code, request.as_mut_ptr()) })
}
