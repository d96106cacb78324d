//! Extended attributes (xattr(7)).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use super::done;

/// The names of the extended attributes of a file, links not followed; each ends in NUL. ENOTSUP
/// if the filesystem has none.
pub fn attribute_names(path: &CStr) -> io::Result<Vec<u8>> {
    // SAFETY: the path ends in NUL and the kernel writes at most `len` bytes.
    with_buffer(|names| unsafe {
        libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len())
    })
}

/// [`attribute_names`] of an open file.
pub fn attribute_names_of(file: &File) -> io::Result<Vec<u8>> {
    // SAFETY: the kernel writes at most `len` bytes.
    with_buffer(|names| unsafe {
        libc::flistxattr(file.as_raw_fd(), names.as_mut_ptr().cast(), names.len())
    })
}

/// The value of an extended attribute of an open file.
pub fn attribute_of(file: &File, name: &CStr) -> io::Result<Vec<u8>> {
    let (file, name) = (file.as_raw_fd(), name.as_ptr());
    // SAFETY: the name ends in NUL and the kernel writes at most `len` bytes.
    with_buffer(|value| unsafe {
        libc::fgetxattr(file, name, value.as_mut_ptr().cast(), value.len())
    })
}

/// The value of an extended attribute of a file, links not followed.
pub fn attribute(path: &CStr, name: &CStr) -> io::Result<Vec<u8>> {
    get(libc::lgetxattr, path, name)
}

/// The value of an extended attribute of a file, links followed; `None` if it cannot be read.
pub fn extended_attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    get(libc::getxattr, &path, &CString::new(name).ok()?).ok()
}

/// `call` is getxattr(2) or lgetxattr(2).
fn get(
    call: unsafe extern "C" fn(*const c_char, *const c_char, *mut c_void, usize) -> isize,
    path: &CStr,
    name: &CStr,
) -> io::Result<Vec<u8>> {
    let (path, name) = (path.as_ptr(), name.as_ptr());
    // SAFETY: both strings end in NUL and the kernel writes at most `len` bytes.
    with_buffer(|value| unsafe { call(path, name, value.as_mut_ptr().cast(), value.len()) })
}

/// What `call` writes into a buffer. Most values are short, and the kernel allocates as much as
/// it is offered: its own limit (XATTR_LIST_MAX, XATTR_SIZE_MAX) only if it asks for that.
fn with_buffer(mut call: impl FnMut(&mut [u8]) -> libc::ssize_t) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0_u8; 512];
    let size = match Errno::result(call(&mut buffer)) {
        Err(Errno::ERANGE) => {
            buffer = vec![0_u8; 65_536];
            Errno::result(call(&mut buffer))?
        }
        result => result?,
    };
    buffer.truncate(size as usize);
    Ok(buffer)
}

/// Sets an extended attribute of a file, links not followed.
pub fn set_attribute(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    set(libc::lsetxattr, path, name, value)
}

/// Sets an extended attribute of an open file (O_PATH will do) by its path `/proc/self/fd/N`.
/// That link is followed; one that it points to is not.
pub fn set_attribute_by_number(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    set(libc::setxattr, path, name, value)
}

/// `call` is setxattr(2) or lsetxattr(2).
fn set(
    call: unsafe extern "C" fn(*const c_char, *const c_char, *const c_void, usize, c_int) -> c_int,
    path: &CStr,
    name: &CStr,
    value: &[u8],
) -> io::Result<()> {
    let (path, name) = (path.as_ptr(), name.as_ptr());
    // SAFETY: both strings end in NUL and the kernel reads `len` bytes of the value.
    done(unsafe { call(path, name, value.as_ptr().cast(), value.len(), 0) })
}
