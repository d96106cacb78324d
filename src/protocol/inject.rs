//! Injection: putting the agent into an image's root, so that the image's own init starts it.

use serde::{Deserialize, Serialize};

/// The point of the image's boot at which its init starts the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Filesystems are mounted and devices exist: systemd's `basic.target`.
    Basic,
    /// Every service was started: systemd's `multi-user.target`, or the end of the runlevel.
    #[default]
    MultiUser,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// systemd: a unit.
    Systemd,
    /// OpenRC: a script in the runlevel `default`.
    OpenRc,
    /// sysvinit or Upstart: a script, linked into the runlevels 2 to 5.
    SysVInit,
    /// sysvinit, by a line of its inittab.
    SysVInittab,
    /// BusyBox's init: a line of its inittab.
    BusyBox,
}

impl Init {
    pub fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::OpenRc => "OpenRC",
            Self::SysVInit | Self::SysVInittab => "sysvinit",
            Self::BusyBox => "BusyBox init",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injection {
    pub init: Init,
    /// The files bear SELinux labels, because the image's own files do.
    pub labelled: bool,
    /// cloud-init was given an empty data source: it would have searched the network for one.
    pub cloud_init: bool,
    /// Every file and link that was created or changed, relative to the image's root.
    pub written: Vec<String>,
}
