//! Why an image could not be mounted on this host, and what helps.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::text::escape::Untrusted;

/// Why an image could not be mounted on this host.
#[derive(Debug, Error)]
pub enum MountError {
    /// The program is missing.
    #[error("fusermount3, which mounts for users, is not installed")]
    NoHelper,
    /// With what it said.
    #[error("fusermount3: {}", Untrusted(.0))]
    Refused(String),
    /// None of the directories that may be covered exists.
    #[error("there is no directory to mount at: neither /mnt nor /media nor /srv")]
    NoTarget,
    /// unshare(2) failed.
    #[error("namespaces for the command are not allowed here")]
    Namespaces(#[source] io::Error),
    /// open(2) of the device failed.
    #[error("/dev/fuse")]
    Device(#[source] io::Error),
    /// mount(2) failed.
    #[error("mounting")]
    Mount(#[source] io::Error),
    /// The program of the command could not be executed.
    #[error("{}", .0.display())]
    Command(PathBuf, #[source] io::Error),
    /// Anything else.
    #[error("mounting the image")]
    Io(#[from] io::Error),
}

impl MountError {
    /// The command or option that helps.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoHelper => Some("apt install fuse3, or `bivouac mount IMAGE -- CMD`"),
            Self::Namespaces(_) => Some(
                "`bivouac mount IMAGE DIR` needs none; an administrator allows them by\n\
                 sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0, \
                 or in a container's options",
            ),
            Self::Device(error) if error.kind() == io::ErrorKind::NotFound => {
                Some("modprobe fuse; a container needs --device /dev/fuse")
            }
            Self::Device(_) => Some("chmod 666 /dev/fuse; a container needs --device /dev/fuse"),
            Self::Refused(text) if text.contains("/dev/fuse") => {
                Some("modprobe fuse; a container needs --device /dev/fuse")
            }
            Self::Refused(_)
            | Self::NoTarget
            | Self::Mount(_)
            | Self::Command(..)
            | Self::Io(_) => None,
        }
    }
}
