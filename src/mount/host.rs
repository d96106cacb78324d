//! Where an image is mounted on this host: at a directory, until it is unmounted there or this process
//! ends; or in a mount namespace of one command.

#![allow(clippy::disallowed_methods)]

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

use crate::sys::{PrivateMount, receive_descriptor};
use crate::text::escape::Untrusted;

/// The helper that mounts for users, and unmounts when the other end of its socket is closed.
const HELPER: &str = "fusermount3";

/// Directories that may be covered in a namespace of a command.
const TARGETS: [&str; 3] = ["/mnt", "/media", "/srv"];

/// The variable that tells a command where the image is mounted.
pub const VARIABLE: &str = "BIVOUAC_MOUNT";

#[derive(Debug, Error)]
pub enum MountError {
    #[error("fusermount3 is not installed")]
    NoHelper(#[source] io::Error),
    #[error("fusermount3: {}", Untrusted(.0))]
    Refused(String),
    #[error("none of {} is a directory", TARGETS.join(", "))]
    NoTarget,
    #[error("{} could not be started in a mount namespace of its own", .0.display())]
    Command(PathBuf, #[source] io::Error),
    #[error("passing the FUSE device")]
    Io(#[from] io::Error),
}

/// The mount at a directory. It ends when this is dropped, or this process ends.
#[derive(Debug)]
pub struct AtDirectory {
    helper: tokio::process::Child,
    leash: UnixStream,
}

impl AtDirectory {
    /// Mounts at `directory` for this user. Returns the device as well. `name` is what mount(8) lists.
    pub fn mount(directory: &Path, name: &OsStr) -> Result<(Self, OwnedFd), MountError> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut options = OsString::from("ro,nosuid,nodev,auto_unmount,subtype=bivouac,fsname=");
        options.push(escaped(name));
        let mut command = tokio::process::Command::new(HELPER);
        command
            .arg("-o")
            .arg(options)
            .arg("--")
            .arg(directory)
            .env("_FUSE_COMMFD", "0")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for this process, whose end it unmounts at.
            .process_group(0);
        let helper = command.spawn().map_err(MountError::NoHelper)?;
        drop(command);
        match receive_descriptor(ours.as_fd()) {
            Ok(device) => Ok((
                Self {
                    helper,
                    leash: ours,
                },
                device,
            )),
            Err(_) => Err(MountError::Refused(last_words(helper))),
        }
    }

    /// Unmounts, if it is still mounted.
    pub async fn end(mut self) {
        drop(self.leash);
        let _ = self.helper.wait().await;
    }
}

/// What a helper that has failed has said.
fn last_words(helper: tokio::process::Child) -> String {
    use std::io::Read;
    let mut said = String::new();
    let stderr = helper.stderr.and_then(|stderr| stderr.into_owned_fd().ok());
    if let Some(stderr) = stderr {
        let _ = std::fs::File::from(stderr)
            .take(4096)
            .read_to_string(&mut said);
    }
    said.trim().trim_start_matches("fusermount3: ").to_owned()
}

/// Commas and backslashes separate and escape options.
fn escaped(name: &OsStr) -> OsString {
    let bytes = name.as_bytes().iter();
    let escaped = bytes.flat_map(|&byte| match byte {
        b',' | b'\\' => vec![b'\\', byte],
        byte => vec![byte],
    });
    OsStr::from_bytes(&escaped.collect::<Vec<_>>()).to_owned()
}

/// Starts a command in whose namespace the image is mounted, `{}` in its words is the place. It waits for
/// answers at its first access. Must be called on the main thread. Returns the device as well.
pub fn start_command(argv: &[OsString]) -> Result<(tokio::process::Child, OwnedFd), MountError> {
    let mut targets = TARGETS.iter().map(Path::new);
    let target = targets.find(|target| target.is_dir());
    let target = target.ok_or(MountError::NoTarget)?;
    let (ours, theirs) = UnixStream::pair()?;
    let path = CString::new(target.as_os_str().as_bytes()).map_err(io::Error::from)?;
    let mut command = Command::new(&argv[0]);
    let place = |word: &OsString| match word.as_bytes() == b"{}" {
        true => target.as_os_str().to_owned(),
        false => word.clone(),
    };
    command
        .args(argv[1..].iter().map(place))
        .env(VARIABLE, target);
    PrivateMount::new(path, theirs.into())?.apply(&mut command);
    let mut command = tokio::process::Command::from(command);
    let child = command.kill_on_drop(true).spawn();
    let child = child.map_err(|error| MountError::Command(PathBuf::from(&argv[0]), error))?;
    drop(command);
    Ok((child, receive_descriptor(ours.as_fd())?))
}
