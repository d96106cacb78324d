//! What stat(2) does not tell of files: digests of their content, and their extended attributes.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::libc;
use nix::sys::stat::{Mode, fstatat};
use sha2::{Digest, Sha256};

use super::lines::Lines;
use super::root::{RootDir, failed};
use crate::archive::attributes;
use crate::protocol::{ByteString, Details, ErrorStage, PathAt, RemoteError, Response, Stat};

/// The longest value of an extended attribute that is passed on as it is.
const MAX_VALUE: usize = 128;

/// The most bytes of attributes that are passed on one by one. Of more, one digest is made.
const MAX_ATTRIBUTES: usize = 16 << 10;

/// The most bytes of attributes of a file that are passed on whole: far below the limit of a message.
const MAX_WHOLE: usize = 128 << 10;

/// Writes a line for each of `paths` below `root`.
pub(super) fn write(
    root: &ByteString,
    paths: &[ByteString],
    data: impl Write,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let root = RootDir::of_request(root.as_path())?;
    opened(None);
    let mut lines = Lines::new(data);
    let mut buffer = vec![0; 64 << 10];
    for path in paths {
        let mut details = Details::default();
        if let Err(errno) = find(&root, path.as_path(), &mut details, &mut buffer) {
            let what = path.as_path().display();
            details.error = Some(RemoteError::of(ErrorStage::File, what, errno));
        }
        lines.put(&details)?;
    }
    lines.finish()
}

/// The extended attributes of one file.
pub(super) fn attributes_of(at: &PathAt) -> Result<Response, RemoteError> {
    let root = RootDir::of_request(at.root.as_path())?;
    let path = at.path.as_path();
    let path = path.strip_prefix("/").unwrap_or(path);
    let found = open_parent(&root, path).and_then(|(parent, name)| attributes(&parent, &name));
    let found = found.map_err(|errno| failed(at, errno))?;
    let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len();
    if found.iter().map(size).sum::<usize>() > MAX_WHOLE {
        return Err(failed(at, Errno::E2BIG));
    }
    let found = found.into_iter();
    let found = found.map(|(name, value)| (ByteString(name), ByteString(value)));
    Ok(Response::Attributes(found.collect()))
}

/// The directory that a file below `root` is in, and its name in it.
fn open_parent(root: &RootDir, path: &Path) -> Result<(OwnedFd, CString), Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    // The top has no name in another directory.
    let name = path.file_name().unwrap_or_else(|| ".".as_ref());
    let directory = root.open_below(path.parent().unwrap_or(Path::new("")), flags)?;
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    Ok((directory, name))
}

fn find(
    root: &RootDir,
    path: &Path,
    details: &mut Details,
    buffer: &mut [u8],
) -> Result<(), Errno> {
    let (directory, name) = open_parent(root, path)?;
    let mut found = attributes(&directory, &name)?;
    found.sort();
    details.attributes = shortened(found);
    let stat = fstatat(&directory, &*name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFREG {
        details.digest = Some(digest(&directory, &name, buffer)?);
    }
    Ok(())
}

fn digest(directory: &OwnedFd, name: &CStr, buffer: &mut [u8]) -> Result<String, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(directory, name, flags, Mode::empty())?);
    let mut hash = Sha256::new();
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(hexadecimal(&hash.finalize())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) => return Err(crate::sys::errno_of(&error)),
        }
    }
}

/// Attributes by name, within limits.
fn shortened(found: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(ByteString, ByteString)> {
    let short = |value: Vec<u8>| match value.len() > MAX_VALUE {
        true => format!("sha256:{}", hexadecimal(&Sha256::digest(&value))).into_bytes(),
        false => value,
    };
    let found: Vec<_> = found
        .into_iter()
        .map(|(key, value)| (key, short(value)))
        .collect();
    let bytes: usize = found
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes <= MAX_ATTRIBUTES {
        let found = found.into_iter();
        return found
            .map(|(key, value)| (ByteString(key), ByteString(value)))
            .collect();
    }
    let mut hash = Sha256::new();
    for part in found.iter().flat_map(|(key, value)| [key, value]) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = format!("sha256:{}", hexadecimal(&hash.finalize()));
    vec![("*".into(), digest.into())]
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_many_attributes_are_passed_on_as_digests() {
        let attribute = |key: &str, length| (key.as_bytes().to_vec(), vec![b'x'; length]);
        let kept = shortened(vec![attribute("user.a", 128), attribute("user.b", 129)]);
        assert_eq!(kept[0].1.0, vec![b'x'; 128]);
        assert!(kept[1].1.0.starts_with(b"sha256:"));
        let many = |length| {
            shortened(
                (0..300)
                    .map(|n| attribute(&format!("{n}"), length))
                    .collect(),
            )
        };
        assert_eq!(many(100).len(), 1);
        assert_ne!(many(100), many(101));
    }
}
