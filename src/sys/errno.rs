//! The kernel's error number of a standard library error.

use std::borrow::Borrow;
use std::io;

use nix::errno::Errno;

/// The errno of `error`; `EIO` if it did not come from the kernel.
pub fn errno_of(error: impl Borrow<io::Error>) -> Errno {
    Errno::from_raw(error.borrow().raw_os_error().unwrap_or(Errno::EIO as i32))
}
