//! Software packages as archives: the regular files in a `.deb` (deb(5)) or an `.rpm`. A package may be
//! hostile: nothing is allocated by a size that it states, how much is unpacked of it is limited, and a
//! path that could lead out of a directory is an error. Writes nothing, and runs none of its scripts.

mod cpio;
mod deb;
mod decoder;
mod rpm;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::archive::ArchiveError;
pub(crate) use decoder::{decoder, decompressed};

/// How many bytes are unpacked of a package. The largest kernel packages have 400 MB.
const LARGEST: u64 = 4 << 30;

/// The longest path in bytes (PATH_MAX), and how many names it may have.
const LONGEST_PATH: usize = 4096;
const DEEPEST: usize = 32;

#[derive(Debug, Error)]
pub enum PackageError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Tar(#[from] ArchiveError),
    #[error("it is neither a .deb nor an .rpm")]
    Unknown,
    #[error("it is damaged: {0}")]
    Malformed(&'static str),
    #[error("{0} is not supported")]
    Unsupported(&'static str),
}

/// What is done with each file: its path, relative and without `..`, and its content, of which any part
/// may be left unread.
pub type Visit<'a> = &'a mut dyn FnMut(&Path, &mut dyn Read) -> io::Result<()>;

/// Calls `visit` for each regular file in a package, in the package's order. Links are left out.
pub fn read(mut package: impl BufRead, visit: Visit<'_>) -> Result<(), PackageError> {
    match package.fill_buf()? {
        start if start.starts_with(deb::MAGIC) => deb::read(package, visit),
        start if start.starts_with(rpm::MAGIC) => rpm::read(package, visit),
        _ => Err(PackageError::Unknown),
    }
}

/// A path in a package, relative to the root: `/` and `.` mean nothing, `..` is refused.
fn relative(path: &[u8]) -> Result<PathBuf, PackageError> {
    const BAD: PackageError = PackageError::Malformed("a path that leads out of it");
    if path.len() > LONGEST_PATH || path.contains(&0) {
        return Err(BAD);
    }
    let mut relative = PathBuf::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(BAD),
            part => relative.push(OsStr::from_bytes(part)),
        }
    }
    match relative.iter().count() <= DEEPEST {
        true => Ok(relative),
        false => Err(BAD),
    }
}

/// Reads exactly one buffer; the package is cut off if that is not there.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<(), PackageError> {
    from.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => PackageError::Malformed("it ends too early"),
        _ => error.into(),
    })
}

fn skip(from: &mut impl Read, bytes: u64) -> Result<(), PackageError> {
    match io::copy(&mut from.take(bytes), &mut io::sink())? == bytes {
        true => Ok(()),
        false => Err(PackageError::Malformed("it ends too early")),
    }
}
