//! Devices of btrfs (<linux/btrfs.h>).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

use super::done;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArguments {
    fd: i64,
    name: [u8; 4088],
}

/// Tells btrfs that a device is part of a filesystem. `control` is /dev/btrfs-control. Fails with
/// ENAMETOOLONG, or if there is no btrfs on the device.
pub fn scan_btrfs(control: impl AsFd, device: &CStr) -> io::Result<()> {
    const SCAN: libc::Ioctl = nix::request_code_write!(0x94, 4, size_of::<VolumeArguments>());
    let mut arguments = VolumeArguments {
        fd: 0,
        name: [0; 4088],
    };
    let name = device.to_bytes_with_nul();
    let room = arguments.name.get_mut(..name.len());
    room.ok_or(nix::errno::Errno::ENAMETOOLONG)?
        .copy_from_slice(name);
    let fd = control.as_fd().as_raw_fd();
    // SAFETY: the structure is as <linux/btrfs.h> has it, its name ends in NUL, and the kernel
    // reads it and keeps no pointer.
    done(unsafe { libc::ioctl(fd, SCAN, &raw const arguments) })
}
