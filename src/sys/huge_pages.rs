//! Memory in huge pages (MAP_HUGETLB of mmap(2)).

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::libc::c_void;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

/// The size of a huge page, in bytes.
pub const HUGE_PAGE: usize = 2 << 20;

/// Huge pages of this process, all of them there. A child that is forked does not have them.
#[derive(Debug)]
pub struct HugePages {
    start: NonNull<c_void>,
    length: NonZeroUsize,
}

// SAFETY: it owns the memory, as a vector does.
unsafe impl Send for HugePages {}

impl HugePages {
    /// Fails with ENOMEM if not as many are free.
    pub fn new(count: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(count * HUGE_PAGE).ok_or(io::ErrorKind::InvalidInput)?;
        let flags = MapFlags::MAP_PRIVATE
            | MapFlags::MAP_HUGETLB
            | MapFlags::MAP_HUGE_2MB
            | MapFlags::MAP_POPULATE;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe { mmap_anonymous(None, length, access, flags) }?;
        let pages = Self { start, length };
        // SAFETY: it is the mapping that was just made. In a child its pages would be copied when they
        // are written, and then have other addresses.
        unsafe { madvise(pages.start, length.get(), MmapAdvise::MADV_DONTFORK) }?;
        Ok(pages)
    }

    pub fn address(&self) -> usize {
        self.start.as_ptr() as usize
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is live, zeroed by the kernel, and borrowed as this is.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.length.get()) }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and nothing borrows it any more.
        let _ = unsafe { munmap(self.start, self.length.get()) };
    }
}
