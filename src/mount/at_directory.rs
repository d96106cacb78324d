//! A mount at a directory of this host, until it is unmounted there or this process ends, however it ends:
//! fusermount3 waits for that.

#![allow(clippy::disallowed_methods)]

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::error::MountError;
use super::private::receive;

/// The helper that mounts for users, and unmounts when the other end of its socket is closed.
const HELPER: &str = "fusermount3";

/// The mount at a directory. It ends when this is dropped, or this process ends.
#[derive(Debug)]
pub struct AtDirectory {
    directory: PathBuf,
    is_mounted: bool,
    _helper: tokio::process::Child,
    _leash: UnixStream,
}

impl AtDirectory {
    /// Mounts at `directory` for this user. Returns the device as well. `name` is what mount(8) lists.
    pub async fn mount(directory: &Path, name: &OsStr) -> Result<(Self, OwnedFd), MountError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
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
        ours.set_nonblocking(true)?;
        let leash = UnixStream::from_std(ours)?;
        match receive(&leash).await? {
            Some(device) => {
                let mounted = Self {
                    directory: directory.to_owned(),
                    is_mounted: true,
                    _helper: helper,
                    _leash: leash,
                };
                Ok((mounted, device))
            }
            None => Err(MountError::Refused(last_words(helper).await)),
        }
    }

    /// Somebody unmounted it.
    pub fn was_unmounted(mut self) {
        self.is_mounted = false;
    }
}

impl Drop for AtDirectory {
    /// Unmounts it. The helper would not, because this process still answers for it.
    fn drop(&mut self) {
        if !self.is_mounted {
            return;
        }
        let mut command = std::process::Command::new(HELPER);
        command.args(["-u", "-z", "-q", "--"]).arg(&self.directory);
        match command.status() {
            Ok(status) if status.success() => {}
            failed => tracing::debug!("unmounting {}: {failed:?}", self.directory.display()),
        }
    }
}

/// What a helper that has failed has said.
async fn last_words(mut helper: tokio::process::Child) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = &mut helper.stderr {
        // A part of it will do.
        let _ = stderr.take(4096).read_to_end(&mut said).await;
    }
    let said = String::from_utf8_lossy(&said);
    said.trim().trim_start_matches("fusermount3: ").to_owned()
}

/// Commas and backslashes separate and escape options.
fn escaped(name: &OsStr) -> OsString {
    let bytes = name.as_bytes().iter();
    let escaped = bytes.flat_map(|&byte| match byte {
        b',' | b'\\' => vec![b'\\', byte],
        byte => vec![byte],
    });
    OsString::from_vec(escaped.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_commas_is_one_option() {
        assert_eq!(escaped("a,allow_other\\".as_ref()), "a\\,allow_other\\\\");
    }
}
