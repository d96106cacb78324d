//! What stat(2) does not tell of files: digests of their content, and their extended attributes.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, PosixFadviseAdvice, openat, posix_fadvise};
use nix::libc;
use nix::sys::stat::{Mode, fstatat};
use sha2::{Digest, Sha256};

use super::digests::{DIRECT, Digests, hexadecimal};
use super::lines::Lines;
use super::root::{RootDir, failed};
use crate::archive::attributes;
use crate::protocol::{
    ByteString, Details, DigestKey, DigestKind, ErrorStage, PathAt, RemoteError, Response,
};

/// The longest value of an extended attribute that is passed on as it is.
const MAX_VALUE: usize = 128;

/// The most bytes of attributes that are passed on one by one. Of more, one digest is made.
const MAX_ATTRIBUTES: usize = 16 << 10;

/// The most bytes of attributes of a file that are passed on whole: far below the limit of a message.
const MAX_WHOLE: usize = 128 << 10;

/// How many files are opened and begun to be read before the first of them is waited for; see [`super::ahead`].
const AT_ONCE: usize = 128;

/// Writes a line for each of `files` below `root`.
pub(super) fn write(
    root: &ByteString,
    files: &[(ByteString, DigestKind)],
    key: &DigestKey,
    data: impl Write,
    opened: impl FnOnce(),
) -> Result<u64, RemoteError> {
    let root = RootDir::of_request(root.as_path())?;
    opened();
    let mut lines = Lines::new(data);
    let mut digests = Digests::new(*key);
    let mut parents = Parents {
        root: &root,
        last: None,
    };
    for files in files.chunks(AT_ONCE) {
        let begun: Vec<_> = files
            .iter()
            .map(|(path, kind)| begin(&mut parents, path, *kind))
            .collect();
        for ((path, kind), begun) in files.iter().zip(begun) {
            let details = begun.and_then(|begun| begun.details(*kind, &mut digests));
            lines.put(&details.unwrap_or_else(|errno| {
                let what = path.as_path().display();
                Details {
                    error: Some(RemoteError::of(ErrorStage::File, what, errno)),
                    ..Details::default()
                }
            }))?;
        }
    }
    lines.finish()
}

/// The extended attributes of one file.
pub(super) fn attributes_of(at: &PathAt) -> Result<Response, RemoteError> {
    let root = RootDir::of_request(at.root.as_path())?;
    let path = at.path.as_path();
    let path = path.strip_prefix("/").unwrap_or(path);
    let found = open_parent(&root, path).and_then(|parent| attributes(&parent, &name(path)?));
    let found = found.map_err(|errno| failed(at, errno))?;
    let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len();
    if found.iter().map(size).sum::<usize>() > MAX_WHOLE {
        return Err(failed(at, Errno::E2BIG));
    }
    let found = found.into_iter();
    let found = found.map(|(name, value)| (ByteString(name), ByteString(value)));
    Ok(Response::Attributes(found.collect()))
}

/// Directories that files are in. Those of a sorted tree follow one another in the same, as a rule.
struct Parents<'a> {
    root: &'a RootDir,
    last: Option<(&'a Path, OwnedFd)>,
}

impl<'a> Parents<'a> {
    fn open(&mut self, path: &'a Path) -> Result<(&OwnedFd, CString), Errno> {
        let is_last = |(last, _): &(&Path, OwnedFd)| Some(*last) == path.parent();
        let directory = match self.last.take().filter(is_last) {
            Some(last) => last,
            None => (parent(path), open_parent(self.root, path)?),
        };
        let (_, directory) = self.last.insert(directory);
        Ok((directory, name(path)?))
    }
}

/// The directory that a file below `root` is in.
fn open_parent(root: &RootDir, path: &Path) -> Result<OwnedFd, Errno> {
    root.open_below(parent(path), OFlag::O_PATH | OFlag::O_DIRECTORY)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// The name of a file in its directory. The top has none in another one.
fn name(path: &Path) -> Result<CString, Errno> {
    let name = path.file_name().unwrap_or_else(|| ".".as_ref());
    CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)
}

/// What is known of a file before its content is read.
struct Begun {
    attributes: Vec<(ByteString, ByteString)>,
    /// A regular file, and its length, if a digest is wanted.
    file: Option<(File, u64)>,
}

/// Looks at a file, and has the kernel begin to read it if it is small.
fn begin<'a>(
    parents: &mut Parents<'a>,
    path: &'a ByteString,
    kind: DigestKind,
) -> Result<Begun, Errno> {
    let (directory, name) = parents.open(path.as_path())?;
    let mut attributes = attributes(directory, &name)?;
    attributes.sort();
    let attributes = shortened(attributes);
    let mut file = None;
    if kind != DigestKind::Nothing {
        let stat = fstatat(directory, &*name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if stat.st_mode & libc::S_IFMT == libc::S_IFREG {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let opened = File::from(openat(directory, &*name, flags, Mode::empty())?);
            if (stat.st_size as u64) < DIRECT {
                // If it is refused, the file is read when it is its turn.
                let advice = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
                let _ = posix_fadvise(&opened, 0, stat.st_size, advice);
            }
            file = Some((opened, stat.st_size.unsigned_abs()));
        }
    }
    Ok(Begun { attributes, file })
}

impl Begun {
    fn details(self, kind: DigestKind, digests: &mut Digests) -> Result<Details, Errno> {
        Ok(Details {
            digest: match self.file {
                Some((file, length)) => digests.of(&file, length, kind)?,
                None => None,
            },
            attributes: self.attributes,
            error: None,
        })
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
