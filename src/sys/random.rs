//! Random bytes of the kernel's.

use std::io;

use nix::libc;

/// Fills `buffer`, of at most 256 bytes, with unpredictable bytes: getrandom(2), which needs no /dev.
pub fn random(buffer: &mut [u8]) -> io::Result<()> {
    loop {
        // SAFETY: the pointer and the length are those of one slice, which is borrowed mutably.
        let filled = unsafe { libc::getrandom(buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(filled) {
            Ok(filled) if filled == buffer.len() => return Ok(()),
            // Only a larger buffer is filled in part.
            Ok(_) => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
