//! Where on its device a file is (FS_IOC_FIEMAP and FS_IOC_FSGETXATTR of <linux/fs.h>).

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

use super::done;

/// Flags of an extent that do not say that the bytes on the device are others than the file's: it is the last,
/// of a filesystem with blocks only, or shared with another file.
const PLAIN: u32 = 0x1 | 0x1000 | 0x2000;

/// `struct fiemap` with room for one `struct fiemap_extent`.
#[repr(C)]
#[derive(Default)]
struct Request {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    unused: u32,
    extent: Extent,
}

#[repr(C)]
#[derive(Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    unused: [u64; 2],
    flags: u32,
    unused_too: [u32; 3],
}

/// Where the first `length` bytes of a file are on its device. `None` if they are in several places, or not all there
/// as they are in the file, such as where it has holes or is compressed.
pub(crate) fn extent(file: impl AsFd, length: u64) -> io::Result<Option<Range<u64>>> {
    const FIEMAP: libc::Ioctl =
        nix::request_code_readwrite!(b'f', 11, std::mem::offset_of!(Request, extent));
    let mut request = Request {
        length,
        room: 1,
        ..Request::default()
    };
    // SAFETY: the structure is as <linux/fiemap.h> has it, and the kernel writes no more than `room` extents.
    done(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), FIEMAP, &raw mut request) })?;
    let extent = &request.extent;
    let is_all = request.mapped == 1 && extent.logical == 0 && extent.length >= length;
    let end = extent.physical.checked_add(length);
    let is_plain = is_all && extent.flags & !PLAIN == 0;
    Ok(end.filter(|_| is_plain).map(|end| extent.physical..end))
}

/// `struct fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Flags {
    flags: u32,
    unused: [u32; 6],
}

/// Whether a file of XFS is on the realtime device: then its [`extent`] is, too.
pub(crate) fn is_realtime(file: impl AsFd) -> io::Result<bool> {
    const GET: libc::Ioctl = nix::request_code_read!(b'X', 31, size_of::<Flags>());
    const REALTIME: u32 = 0x1;
    let mut found = Flags::default();
    // SAFETY: the structure is as <linux/fs.h> has it.
    done(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), GET, &raw mut found) })?;
    Ok(found.flags & REALTIME != 0)
}
