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

/// `struct btrfs_ioctl_search_args`: the key of a search, and the items found.
#[repr(C)]
struct SearchArguments {
    tree: u64,
    min_object: u64,
    max_object: u64,
    min_offset: u64,
    max_offset: u64,
    min_transaction: u64,
    max_transaction: u64,
    min_type: u32,
    max_type: u32,
    items: u32,
    unused: [u32; 9],
    buffer: [u8; SEARCH_BUFFER],
}

/// 4096 without the key (BTRFS_SEARCH_ARGS_BUFSIZE).
const SEARCH_BUFFER: usize = 3992;

/// A key in a tree of btrfs: object, type, offset.
pub(crate) type BtrfsKey = (u64, u8, u64);

/// The first items of a tree of btrfs from `from` on, each with its header (`struct
/// btrfs_ioctl_search_header`), and their number: as many as fit into 4 KiB. `file` is any file of
/// the filesystem.
pub(crate) fn search_btrfs(
    file: impl AsFd,
    tree: u64,
    from: BtrfsKey,
) -> io::Result<(usize, Vec<u8>)> {
    const SEARCH: libc::Ioctl =
        nix::request_code_readwrite!(0x94, 17, size_of::<SearchArguments>());
    let mut arguments = SearchArguments {
        tree,
        min_object: from.0,
        max_object: u64::MAX,
        min_offset: from.2,
        max_offset: u64::MAX,
        min_transaction: 0,
        max_transaction: u64::MAX,
        min_type: u32::from(from.1),
        max_type: u32::from(u8::MAX),
        items: u32::MAX,
        unused: [0; 9],
        buffer: [0; SEARCH_BUFFER],
    };
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the structure is as <linux/btrfs.h> has it, and the kernel writes nothing behind it.
    done(unsafe { libc::ioctl(fd, SEARCH, &raw mut arguments) })?;
    Ok((arguments.items as usize, arguments.buffer.to_vec()))
}

/// `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
struct LookupArguments {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

/// The path of a directory within its subvolume: empty for the top, else it ends in a slash.
pub(crate) fn btrfs_directory(file: impl AsFd, subvolume: u64, inode: u64) -> io::Result<Vec<u8>> {
    const LOOKUP: libc::Ioctl =
        nix::request_code_readwrite!(0x94, 18, size_of::<LookupArguments>());
    let mut arguments = LookupArguments {
        tree: subvolume,
        object: inode,
        name: [0; 4080],
    };
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the structure is as <linux/btrfs.h> has it, and the kernel writes nothing behind it.
    done(unsafe { libc::ioctl(fd, LOOKUP, &raw mut arguments) })?;
    let end = arguments.name.iter().position(|byte| *byte == 0);
    Ok(arguments.name[..end.unwrap_or(0)].to_vec())
}
