//! A tar stream into the guest. Links that are there are followed within the root and never out
//! of it; `..` in a member's name is refused.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::pack::summary;
use super::process::errno_of;
use super::resolve::Root;
use crate::archive::{Place, Policy, extract};
use crate::guest::wire::{ByteString, ErrorStage, PathAt, RemoteError, Stat, TarOptions};

/// A directory below a root.
struct Below {
    root: Root,
    base: PathBuf,
}

impl Place for Below {
    fn open(&self, below: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let path = self.base.join(below);
        self.root.look_up(&path, flags, Mode::empty())
    }
}

/// Unpacks the stream below `at`. Gives the number of members.
///
/// # Errors
/// The directory is not there, or the stream is malformed. A member that cannot be made is left
/// out, the rest is made, and then the first such error is the error.
pub fn unpack(
    at: &PathAt,
    options: &TarOptions,
    data: &File,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let place = Below {
        root: Root::open(at.root.as_path())?,
        base: at.path.as_path().to_owned(),
    };
    place
        .open(Path::new(""), OFlag::O_PATH | OFlag::O_DIRECTORY)
        .map_err(|errno| {
            RemoteError::of(ErrorStage::File, at.path.as_path().display(), errno as i32)
        })?;
    opened(None);
    let policy = Policy {
        owners: options.owners,
        privileges: true,
        only: None,
    };
    // A header of 512 bytes is not worth a call, of which the writer would learn each time.
    let mut data = BufReader::with_capacity(64 << 10, data);
    let extracted = extract(&place, &policy, &mut data)
        .map_err(|error| RemoteError::new(ErrorStage::Tar, error.to_string()))?;
    // Writers fill the stream behind its end.
    io::copy(&mut data.take(1 << 20), &mut io::sink()).map_err(|error| {
        RemoteError::of(ErrorStage::Process, "the pipe", errno_of(&error) as i32)
    })?;
    match extracted.first {
        None => Ok(extracted.members),
        Some((name, errno)) => {
            let name = ByteString(name);
            let first = RemoteError::of(ErrorStage::File, name.as_path().display(), errno as i32);
            Err(summary(first, extracted.troubles))
        }
    }
}
