//! The device-mapper's ioctl (<linux/dm-ioctl.h>), which neither nix nor libc knows.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// What the device-mapper is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapperCommand {
    /// Make a device without a table.
    Create = 3,
    /// Take a device away.
    Remove = 4,
    /// Stop it, or make it go on with the table that was loaded.
    Suspend = 6,
    /// Load a table beside the one in use.
    Load = 9,
}

/// The size of `struct dm_ioctl`, and where its fields are that a caller sets or reads.
pub const MAPPER_HEADER: usize = 312;
const DATA_SIZE: usize = 12;

/// One request. `request` is a `struct dm_ioctl` and the tables behind it, in memory of the
/// alignment of its 64-bit fields; `data_size` is set here, and the answer overwrites it.
///
/// # Errors
/// EINVAL for a request that is too short; else what the device-mapper says.
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
    // `version` are three and `data_size` the fourth of 32 bits: the upper half of a word of 64.
    let word = &mut request[DATA_SIZE / 8];
    *word = (*word & 0xffff_ffff) | u64::from(declared) << 32;
    let code = nix::request_code_readwrite!(0xfd, command as u8, MAPPER_HEADER);
    // SAFETY: the kernel reads and writes no more than `data_size` bytes of the request, which
    // is the size of the slice that this function borrows exclusively.
    let done = unsafe { libc::ioctl(control.as_raw_fd(), code, request.as_mut_ptr()) };
    nix::errno::Errno::result(done)
        .map(drop)
        .map_err(io::Error::from)
}
