//! The ioctls that assemble an MD array from members with superblocks (<linux/raid/md_u.h>).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

use super::done;

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
