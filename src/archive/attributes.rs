//! Extended attributes of names in open directories.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::{Attributes, Member};
use crate::linux::proc_fd::{c_path, c_path_in};
use crate::sys::{self, errno_of};

/// The extended attributes of a name in a directory; none if the file system supports none.
pub(crate) fn attributes(directory: impl AsFd, name: &CStr) -> Result<Attributes, Errno> {
    attributes_at(&c_path_in(directory, name)?)
}

/// Those of a path, links not followed.
pub(crate) fn attributes_at(path: &CStr) -> Result<Attributes, Errno> {
    read(sys::attribute_names(path), |key| sys::attribute(path, key))
}

/// Those of an open file.
pub(crate) fn attributes_of(file: &File) -> Result<Attributes, Errno> {
    read(sys::attribute_names_of(file), |key| {
        sys::attribute_of(file, key)
    })
}

fn read(
    names: io::Result<Vec<u8>>,
    value: impl Fn(&CStr) -> io::Result<Vec<u8>>,
) -> Result<Attributes, Errno> {
    let names = match names {
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
        match value(key) {
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
    let path = c_path(file);
    for (key, value) in member.attributes.iter().filter(|(key, _)| wanted(key)) {
        let key = CString::new(key.clone()).map_err(|_| Errno::EINVAL)?;
        sys::set_attribute_by_number(&path, &key, value).map_err(errno_of)?;
    }
    Ok(())
}
