//! Seeding: putting the agent into an image's root, so that the image's own init starts it.

use serde::{Deserialize, Serialize};

/// How far the image's init is to be before it starts the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// File systems are mounted and devices are there: systemd's `basic.target`.
    Basic,
    /// Every service was started: systemd's `multi-user.target`, or the last of the runlevel.
    #[default]
    MultiUser,
}

/// What starts services in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// systemd: a unit.
    Systemd,
    /// OpenRC: a script in the runlevel `default`.
    OpenRc,
    /// sysvinit, or Upstart in its place: a script, linked into the runlevels 2 to 5.
    SysVInit,
    /// sysvinit, by a line of its inittab.
    SysVInittab,
    /// BusyBox's init: a line of its inittab.
    BusyBox,
}

impl Init {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::OpenRc => "OpenRC",
            Self::SysVInit | Self::SysVInittab => "sysvinit",
            Self::BusyBox => "BusyBox init",
        }
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeding {
    /// What will start the agent.
    pub init: Init,
    /// The files bear SELinux labels, as the image's own do.
    pub labelled: bool,
    /// cloud-init got an empty source of data, because it would have looked for one on the network.
    pub cloud_init: bool,
    /// Every file and link that was made or changed, from the image's root.
    pub written: Vec<String>,
}
