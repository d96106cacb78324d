//! Has the kernel begin to read many directories at once. By itself it reads each when it is listed, and waiting for
//! a disk takes an emulated machine longer than the rest of a small directory. For ext2, ext3 and ext4, which have
//! directories in the cache of their device.

use std::cell::OnceCell;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, PosixFadviseAdvice, openat, posix_fadvise};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, fstatfs};

use super::gather::{device, runs};
use super::root::DIRECTORY;
use crate::sys::extent;

/// The most directories that are read at once.
const MOST: usize = 1024;

/// For the directories of one filesystem.
pub(super) struct DirectoryReadAhead {
    is_of_appliance: bool,
    /// The device of the filesystem, if it is one of these. Opened when it is needed.
    device: OnceCell<Option<File>>,
}

impl DirectoryReadAhead {
    /// It does nothing in a booted guest, where opening a directory may mount what nobody has asked for.
    pub(super) const fn new(is_of_appliance: bool) -> Self {
        Self {
            is_of_appliance,
            device: OnceCell::new(),
        }
    }

    /// Begins to read directories by their names in another. It is not essential: errors are left to those who list
    /// them. If one is of another filesystem, other bytes are read in vain.
    pub(super) fn directories<'a>(&self, parent: &OwnedFd, names: impl Iterator<Item = &'a CStr>) {
        let names: Vec<_> = names.take(MOST).collect();
        if !self.is_of_appliance || names.len() < 2 {
            return;
        }
        let Some(device) = self.device.get_or_init(|| cached_in_device(parent)) else {
            return;
        };
        // The first block: few directories have more.
        let place = |name: &&CStr| {
            let directory = openat(parent.as_fd(), *name, DIRECTORY, Mode::empty()).ok()?;
            extent(&directory, 1).ok()?
        };
        let places: Vec<_> = names.iter().filter_map(place).collect();
        for run in runs(places.iter()).into_iter().map(|run| run.from) {
            let (Ok(start), Ok(length)) = (run.start.try_into(), (run.end - run.start).try_into())
            else {
                continue;
            };
            let _ = posix_fadvise(
                device,
                start,
                length,
                PosixFadviseAdvice::POSIX_FADV_WILLNEED,
            );
        }
    }
}

/// The device of a directory's filesystem, if that has directories in the device's cache.
fn cached_in_device(directory: &OwnedFd) -> Option<File> {
    let kind = fstatfs(directory).ok()?.filesystem_type();
    let number = fstat(directory).ok()?.st_dev;
    (kind == EXT4_SUPER_MAGIC).then(|| device(number, OFlag::empty()))?
}
