//! Paths of open files: `/proc/self/fd/N` leads to the file, and to nothing else while it is open.
//! For system calls and programs that take only paths.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use nix::errno::Errno;

/// The path of the file that has this number in the process that will use the path.
pub fn of_number(number: i32) -> String {
    format!("/proc/self/fd/{number}")
}

/// The path of a file that is open in this process, or that a child will inherit by this number.
pub fn path(file: impl AsFd) -> PathBuf {
    of_number(file.as_fd().as_raw_fd()).into()
}

/// [`path`] as a C string.
pub fn c_path(file: impl AsFd) -> CString {
    // It has no NUL.
    CString::new(of_number(file.as_fd().as_raw_fd())).unwrap_or_default()
}

pub fn c_path_in(directory: impl AsFd, name: &CStr) -> Result<CString, Errno> {
    let mut path = of_number(directory.as_fd().as_raw_fd()).into_bytes();
    path.push(b'/');
    path.extend_from_slice(name.to_bytes());
    CString::new(path).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_path_leads_to_the_open_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "text").unwrap();
        let open = fs::File::open(directory.path()).unwrap();
        let file = c_path_in(&open, c"file").unwrap();
        assert_eq!(fs::read(file.to_str().unwrap()).unwrap(), b"text");
        assert_eq!(
            c_path(&open).to_str().unwrap(),
            path(&open).to_str().unwrap()
        );
        assert_eq!(
            path(&open).canonicalize().unwrap(),
            directory.path().canonicalize().unwrap()
        );
    }
}
