//! Extended attributes of names in open directories.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

use super::{Attributes, Member};

pub(super) fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

/// The path of a name in an open directory: the calls for attributes that do not follow a link at
/// the end take only paths.
pub fn path_of(directory: impl AsFd, name: &CStr) -> Result<CString, Errno> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    CString::new(path).map_err(|_| Errno::EINVAL)
}

/// The extended attributes of a name in a directory; none if the file system supports none.
pub(super) fn attributes(directory: impl AsFd, name: &CStr) -> Result<Attributes, Errno> {
    let path = path_of(directory, name)?;
    let names = match crate::sys::attribute_names(&path) {
        Ok(names) => names,
        Err(error) if error.raw_os_error() == Some(Errno::ENOTSUP as i32) => return Ok(Vec::new()),
        Err(error) => return Err(errno_of(&error)),
    };
    let mut attributes = Vec::new();
    for key in names.split_inclusive(|&byte| byte == 0) {
        let Ok(key) = CStr::from_bytes_with_nul(key) else {
            continue;
        };
        // A record's key ends at its first equals sign.
        if key.to_bytes().contains(&b'=') {
            continue;
        }
        match crate::sys::attribute(&path, key) {
            Ok(value) => attributes.push((key.to_bytes().to_owned(), value)),
            // Removed meanwhile, or not readable for this user.
            Err(error) if matches!(errno_of(&error), Errno::ENODATA | Errno::EPERM) => {}
            Err(error) => return Err(errno_of(&error)),
        }
    }
    Ok(attributes)
}

/// Sets the wanted attributes of a member; an O_PATH descriptor is enough.
pub(super) fn set_attributes(
    file: &impl AsFd,
    member: &Member,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<(), Errno> {
    if member.attributes.is_empty() {
        return Ok(());
    }
    let path = by_number(file);
    for (key, value) in member.attributes.iter().filter(|(key, _)| wanted(key)) {
        let key = CString::new(key.clone()).map_err(|_| Errno::EINVAL)?;
        let set = crate::sys::set_attribute_by_number(&path, &key, value);
        set.map_err(|error| errno_of(&error))?;
    }
    Ok(())
}

/// The path of an open file, valid while it is open.
pub(super) fn by_number(file: &impl AsFd) -> CString {
    let number = file.as_fd().as_raw_fd();
    // Digits have no NUL.
    CString::new(format!("/proc/self/fd/{number}")).unwrap_or_default()
}
