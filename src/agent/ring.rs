//! Memory in which data is left for the host to read. Its physical addresses must stay: the kernel does not
//! move huge pages by itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::protocol::WireError;
use crate::sys::{HUGE_PAGE, HugePages};

/// How many huge pages are used. They are reserved when the agent starts.
const HUGE_PAGES: usize = 1;

const PAGE: usize = 4096;

/// The largest piece of data, in bytes. Each begins at a multiple of it.
const PIECE: usize = 512 << 10;
const PIECES: usize = HUGE_PAGES * HUGE_PAGE / PIECE;

/// Bits of an entry of a pagemap (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// Pieces of memory, each in use from when it is sent until the host has read it.
pub(crate) struct Ring {
    memory: HugePages,
    /// Of each huge page.
    addresses: Vec<u64>,
    next: usize,
    in_use: usize,
}

impl Ring {
    /// Fails if no huge pages are free, or if this is not root.
    pub(crate) fn new() -> io::Result<Self> {
        let memory = HugePages::new(HUGE_PAGES)?;
        let pagemap = File::open("/proc/self/pagemap")?;
        let addresses = (0..HUGE_PAGES).map(|huge| {
            let mut entry = [0; size_of::<u64>()];
            let page = (memory.address() + huge * HUGE_PAGE) / PAGE;
            pagemap.read_exact_at(&mut entry, (page * size_of::<u64>()) as u64)?;
            let entry = u64::from_le_bytes(entry);
            match entry & FRAME {
                frame if entry & PRESENT != 0 && frame != 0 => Ok(frame * PAGE as u64),
                _ => Err(io::ErrorKind::PermissionDenied.into()),
            }
        });
        Ok(Self {
            addresses: addresses.collect::<io::Result<_>>()?,
            memory,
            next: 0,
            in_use: 0,
        })
    }

    pub(crate) fn has_room(&self) -> bool {
        self.in_use < PIECES
    }

    /// The next piece, empty without room. It is not in use before it is [placed](Self::place).
    pub(crate) fn piece(&mut self) -> &mut [u8] {
        let length = if self.has_room() { PIECE } else { 0 };
        &mut self.memory.bytes()[self.next * PIECE..][..length]
    }

    /// Uses the next piece, and returns its physical address.
    pub(crate) fn place(&mut self) -> u64 {
        let offset = self.next * PIECE;
        self.next = (self.next + 1) % PIECES;
        self.in_use += 1;
        self.addresses[offset / HUGE_PAGE] + (offset % HUGE_PAGE) as u64
    }

    /// The host has read the oldest `count` pieces. Fails if so many are not in use.
    pub(crate) fn taken(&mut self, count: u32) -> Result<(), WireError> {
        let left = self.in_use.checked_sub(count as usize);
        let what = || format!("{count} taken frames");
        self.in_use = left.ok_or_else(|| WireError::OutOfOrder(what()))?;
        Ok(())
    }

    /// None is in use any more: there is another host.
    pub(crate) fn clear(&mut self) {
        self.in_use = 0;
    }
}
