//! A tar stream into the guest. Links that exist are followed within the root and never out of
//! it; `..` in a member's name is refused.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::pack::{outcome, stream_error};
use super::root::{RootDir, failed};
use crate::archive::{Policy, TargetDir, unpack as unpack_stream};
use crate::protocol::{PathAt, RemoteError, Stat, TarOptions};

struct BelowRoot {
    root: RootDir,
    base: PathBuf,
}

impl TargetDir for BelowRoot {
    fn open(&self, below: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        self.root.open_below(self.base.join(below), flags)
    }
}

/// Unpacks the stream below `at`, and returns the number of members.
/// Members that cannot be created are left out; the first of them is the error once the rest is
/// unpacked.
pub(crate) fn unpack(
    at: &PathAt,
    options: &TarOptions,
    data: &File,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let target = BelowRoot {
        root: RootDir::of_request(at.root.as_path())?,
        base: at.path.as_path().to_owned(),
    };
    target
        .open(Path::new(""), OFlag::O_PATH | OFlag::O_DIRECTORY)
        .map_err(|errno| failed(at, errno))?;
    opened(None);
    let policy = Policy {
        owners: options.owners,
        privileges: true,
        ..Policy::default()
    };
    // Read in large pieces: each read of the pipe wakes its writer.
    let mut data = BufReader::with_capacity(64 << 10, data);
    let stats = unpack_stream(&target, &policy, &mut data).map_err(stream_error)?;
    // Writers pad the stream after its end.
    io::copy(&mut data.take(1 << 20), &mut io::sink())
        .map_err(|error| stream_error(error.into()))?;
    outcome(stats)
}
