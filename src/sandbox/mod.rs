//! Confines a QEMU that bivouac starts, so that a guest that broke out of the emulator can do nothing
//! to the host or its user. [`Rules`] say what it may open and do beyond the descriptors that it
//! inherits; they are plain data, made from a machine's plan. [`confine`] turns them into what the
//! kernel enforces: Landlock ([`landlock`]), a filter of system calls ([`syscalls`]), an unprivileged
//! user where bivouac runs as root, no capabilities, and limits.

mod landlock;
mod program;
mod support;
mod syscalls;

use std::path::PathBuf;

use serde::Serialize;

use crate::sys::Confinement;
pub use support::{Support, is_open_to_all, support};

/// Whether QEMU is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As far as the host supports it
    #[default]
    Auto,
    /// Fail where the host does not support all of it
    Require,
    /// Not at all
    Off,
}

/// What a user asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub mode: Mode,
    /// Files and directories that QEMU may read, execute and list besides.
    pub read: Vec<PathBuf>,
}

/// What a process may open by name and do, besides what it inherits. Paths that do not exist are
/// ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// Files to read, and directories to list and read everything below.
    pub read: Vec<PathBuf>,
    /// The same, which may also be executed.
    pub execute: Vec<PathBuf>,
    /// Files to read and write.
    pub write: Vec<PathBuf>,
    /// Devices to read, write and control by ioctl(2).
    pub devices: Vec<PathBuf>,
    pub network: NetworkRule,
    /// Whether it may start other processes: a wrapper script may have to.
    pub fork: bool,
    /// Why it is confined less than others.
    pub weaker: Option<&'static str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkRule {
    /// No sockets.
    #[default]
    None,
    /// Servers at these TCP ports, and no connections.
    Serve(Vec<u16>),
    /// Internet sockets of any kind.
    Internet,
    /// Also UNIX sockets, for a display.
    Local,
}

/// What is enforced, for reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Enforced {
    /// The version of Landlock's interface; 0 if there is none.
    pub landlock: u32,
    pub seccomp: bool,
    /// The user that a QEMU started by root becomes: `own`, `nobody` or null.
    pub user: Option<&'static str>,
    /// Why less is enforced than usually.
    pub weaker: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("QEMU cannot be confined here: {0}")]
    Unsupported(String),
    #[error("preparing QEMU's sandbox: {0}")]
    Landlock(#[from] ::landlock::RulesetError),
    #[error("preparing QEMU's filter of system calls: {0}")]
    Filter(#[from] seccompiler::BackendError),
}

impl SandboxError {
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unsupported(_) => Some("--sandbox auto confines it as far as this host can"),
            Self::Landlock(_) | Self::Filter(_) => Some("--sandbox off starts it without"),
        }
    }
}

/// The lowest version of Landlock without a known gap: below 3, a file may be truncated.
pub const LANDLOCK_COMPLETE: u32 = 3;

/// Descriptors that QEMU may have open at once, besides those it inherits.
const MAX_DESCRIPTORS: u64 = 1024;
/// Memory that it may lock, in bytes.
const MAX_LOCKED: u64 = 64 << 10;

/// Prepares the confinement of one process.
pub fn confine(
    mode: Mode,
    rules: &Rules,
    support: &Support,
) -> Result<(Confinement, Enforced), SandboxError> {
    if mode == Mode::Off {
        return Ok(Default::default());
    }
    if let (Mode::Require, Some(lack)) = (mode, support.lack()) {
        return Err(SandboxError::Unsupported(lack));
    }
    let user = support.user_for(rules);
    let filters = match support.seccomp {
        true => syscalls::filters(rules)?,
        false => Vec::new(),
    };
    let confinement = Confinement {
        user,
        landlock: match support.landlock {
            0 => None,
            _ => landlock::ruleset(rules)?,
        },
        filters,
        max_descriptors: Some(MAX_DESCRIPTORS),
        max_locked: Some(MAX_LOCKED),
        unprivileged: true,
    };
    let weaker = support.lack().or(rules.weaker.map(str::to_owned));
    let enforced = Enforced {
        landlock: support.landlock,
        seccomp: support.seccomp,
        user: user.map(|(user, _)| support::name(user)),
        weaker,
    };
    Ok((confinement, enforced))
}
