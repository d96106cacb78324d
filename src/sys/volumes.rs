//! Ioctls that neither nix nor libc has: the device-mapper's (<linux/dm-ioctl.h>), and those that
//! assemble an MD array from members with superblocks (<linux/raid/md_u.h>).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

use super::done;

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
    done(unsafe { libc::ioctl(control.as_raw_fd(), code, request.as_mut_ptr()) })
}

/// `mdu_array_info_t`: the first two are the superblock's version. If the number of disks is 0,
/// the kernel reads nothing else and takes the rest from the superblocks (drivers/md/md.c,
/// set_array_info).
type ArrayInfo = [i32; 18];
/// `mdu_disk_info_t`: number, major, minor, raid_disk, state.
type DiskInfo = [i32; 5];
/// `mdu_param_t`, unused.
type Parameters = [i32; 3];

const SET_ARRAY_INFO: libc::Ioctl = nix::request_code_write!(9, 0x23, size_of::<ArrayInfo>());
const ADD_NEW_DISK: libc::Ioctl = nix::request_code_write!(9, 0x21, size_of::<DiskInfo>());
const RUN_ARRAY: libc::Ioctl = nix::request_code_write!(9, 0x30, size_of::<Parameters>());

/// Assembles and starts `array`, an MD device without members. The members are given by major
/// and minor number; their superblocks have `version`.
pub fn assemble_array(
    array: BorrowedFd<'_>,
    version: (i32, i32),
    members: &[(i32, i32)],
) -> io::Result<()> {
    let array = array.as_raw_fd();
    let mut info: ArrayInfo = [0; 18];
    (info[0], info[1]) = version;
    // SAFETY: the descriptor is live, and the kernel reads one struct of exactly this size.
    done(unsafe { libc::ioctl(array, SET_ARRAY_INFO, &raw const info) })?;
    for (major, minor) in members {
        let disk: DiskInfo = [0, *major, *minor, 0, 0];
        // SAFETY: as above.
        done(unsafe { libc::ioctl(array, ADD_NEW_DISK, &raw const disk) })?;
    }
    let unused: Parameters = [0; 3];
    // SAFETY: as above.
    done(unsafe { libc::ioctl(array, RUN_ARRAY, &raw const unused) })
}
