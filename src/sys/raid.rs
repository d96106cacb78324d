//! The ioctls that assemble an MD array from members that have superblocks
//! (<linux/raid/md_u.h>).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// `mdu_array_info_t`: the first two are the superblock's version. With no number of disks it
/// says no more than that, and the superblocks say the rest (drivers/md/md.c, set_array_info).
type ArrayInfo = [i32; 18];
/// `mdu_disk_info_t`: number, major, minor, raid_disk, state.
type DiskInfo = [i32; 5];
/// `mdu_param_t`, unused.
type Parameters = [i32; 3];

const SET_ARRAY_INFO: libc::Ioctl = nix::request_code_write!(9, 0x23, size_of::<ArrayInfo>());
const ADD_NEW_DISK: libc::Ioctl = nix::request_code_write!(9, 0x21, size_of::<DiskInfo>());
const RUN_ARRAY: libc::Ioctl = nix::request_code_write!(9, 0x30, size_of::<Parameters>());

/// Assembles and starts the array at `array`, an MD device without members, from devices given
/// by major and minor number, whose superblocks are of `version`.
///
/// # Errors
/// What the kernel says.
pub fn assemble_array(
    array: BorrowedFd<'_>,
    version: (i32, i32),
    members: &[(i32, i32)],
) -> io::Result<()> {
    let mut info: ArrayInfo = [0; 18];
    (info[0], info[1]) = version;
    // SAFETY: the descriptor is live, and the kernel reads one struct of that very size.
    let set = unsafe { libc::ioctl(array.as_raw_fd(), SET_ARRAY_INFO, &raw const info) };
    Errno::result(set)?;
    for (major, minor) in members {
        let disk: DiskInfo = [0, *major, *minor, 0, 0];
        // SAFETY: as above.
        let added = unsafe { libc::ioctl(array.as_raw_fd(), ADD_NEW_DISK, &raw const disk) };
        Errno::result(added)?;
    }
    let unused: Parameters = [0; 3];
    // SAFETY: as above.
    let run = unsafe { libc::ioctl(array.as_raw_fd(), RUN_ARRAY, &raw const unused) };
    Errno::result(run)?;
    Ok(())
}
