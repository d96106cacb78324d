//! Partitions of a disk, added to the kernel and taken away (<linux/blkpg.h>).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

use super::done;

/// `struct blkpg_partition`.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: libc::c_int,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlkpgArgument {
    operation: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    data: *mut BlkpgPartition,
}

const BLKPG: libc::Ioctl = nix::request_code_none!(0x12, 105);
const ADD: libc::c_int = 1;
const DELETE: libc::c_int = 2;

/// Adds partition `number`, at bytes `start` to `start + length` of an open disk. Fails if they are
/// not multiples of its sectors, lie behind its end, or overlap another partition.
pub fn add_partition(disk: impl AsFd, number: u32, start: u64, length: u64) -> io::Result<()> {
    request(disk, ADD, number, start, length)
}

/// Removes partition `number` of an open disk from the kernel. Fails if it is in use.
pub fn delete_partition(disk: impl AsFd, number: u32) -> io::Result<()> {
    request(disk, DELETE, number, 0, 0)
}

fn request(
    disk: impl AsFd,
    operation: libc::c_int,
    number: u32,
    start: u64,
    length: u64,
) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut partition = BlkpgPartition {
        start: start.try_into().map_err(invalid)?,
        length: length.try_into().map_err(invalid)?,
        number: number.try_into().map_err(invalid)?,
        names: [0; 128],
    };
    let mut argument = BlkpgArgument {
        operation,
        flags: 0,
        length: size_of::<BlkpgPartition>() as libc::c_int,
        data: &raw mut partition,
    };
    let fd = disk.as_fd().as_raw_fd();
    // SAFETY: both structures are as <linux/blkpg.h> has them and live until the call returns; the
    // kernel reads them and keeps no pointer.
    done(unsafe { libc::ioctl(fd, BLKPG, &raw mut argument) })
}
