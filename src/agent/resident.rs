//! Memory that the agent of an appliance has before the machine is saved, so that a restored one
//! neither asks the kernel for more nor takes a page fault: under emulation the kernel's code for
//! these, which was not run since the restore, costs more than all that the agent itself does.

use std::io;
use std::sync::Mutex;

use nix::sys::mman::{MlockAllFlags, mlockall};

use super::ring::Ring;

/// What a survey and the requests after it use at once, in bytes.
const HEAP: usize = 2 << 20;

/// Until it is used.
static RING: Mutex<Option<Ring>> = Mutex::new(None);

/// The ring that was made before, or another.
pub(crate) fn ring() -> io::Result<Ring> {
    match RING.lock().ok().and_then(|mut kept| kept.take()) {
        Some(ring) => Ok(ring),
        None => Ring::new(),
    }
}

/// Makes a [`Ring`], and a heap of [`HEAP`] bytes, which is kept, and all that this process has mapped resident.
pub(crate) fn populate() {
    if let (Ok(mut kept), Ok(ring)) = (RING.lock(), Ring::new()) {
        *kept = Some(ring);
    }
    crate::sys::keep_freed_memory();
    // The compiler would leave out an allocation that is not used.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(HEAP)));
    // Without it everything works, more slowly.
    let _ = mlockall(MlockAllFlags::MCL_CURRENT);
}
