//! A mount at a directory of this host, until it is unmounted there or this process ends, however it ends.

#![allow(clippy::disallowed_methods)]

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::error::MountError;
use super::private::receive;

/// Mounts, and unmounts when the other end of standard input is closed, unless there was a line before.
/// fusermount3 can wait for that itself (`auto_unmount`), but leaves the mount of a user who is not root.
const GUARD: &str = r#"
fusermount3 -o "$1" -- "$2" >&2 || {
    status=$?
    # It has mounted, and then found nobody who takes the device: nothing answers there.
    [ -e "$2" ] || fusermount3 -u -z -q -- "$2"
    exit "$status"
}
read -r _ || exec fusermount3 -u -z -q -- "$2"
"#;

/// What a shell returns if there is no such program.
const NOT_FOUND: i32 = 127;

/// The mount at a directory. It ends when this is dropped, or this process ends.
#[derive(Debug)]
pub struct AtDirectory {
    guard: Child,
    leash: Option<UnixStream>,
}

impl AtDirectory {
    /// Mounts at `directory` for this user. Returns the device as well. `name` is what mount(8) lists.
    pub async fn mount(directory: &Path, name: &OsStr) -> Result<(Self, OwnedFd), MountError> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut options = OsString::from("ro,nosuid,nodev,subtype=bivouac,fsname=");
        options.push(escaped(name));
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", GUARD, "sh"])
            .arg(options)
            .arg(directory)
            // Where fusermount3 sends the device.
            .env("_FUSE_COMMFD", "0")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for this process, whose end it unmounts at.
            .process_group(0);
        let guard = command.spawn()?;
        drop(command);
        let copy = ours.try_clone()?;
        let mut mounted = Self {
            guard,
            leash: Some(ours),
        };
        copy.set_nonblocking(true)?;
        match receive(&tokio::net::UnixStream::from_std(copy)?).await? {
            Some(device) => Ok((mounted, device)),
            None => Err(mounted.refusal()),
        }
    }

    /// Somebody unmounted it.
    pub fn was_unmounted(mut self) {
        if let Some(leash) = &mut self.leash {
            // If the guard has ended, it unmounts nothing.
            let _ = leash.write_all(b"\n");
        }
    }

    /// Why it was not mounted: what fusermount3 has said.
    fn refusal(&mut self) -> MountError {
        let mut said = Vec::new();
        if let Some(stderr) = &mut self.guard.stderr {
            // A part of it will do.
            let _ = stderr.take(4096).read_to_end(&mut said);
        }
        match self.guard.wait() {
            Ok(status) if status.code() == Some(NOT_FOUND) => MountError::NoHelper,
            _ => {
                let said = String::from_utf8_lossy(&said);
                let said = said.trim().trim_start_matches("fusermount3: ");
                MountError::Refused(said.to_owned())
            }
        }
    }
}

impl Drop for AtDirectory {
    fn drop(&mut self) {
        self.leash = None;
        let _ = self.guard.wait();
    }
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
