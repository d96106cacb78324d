//! Confines a QEMU that bivouac starts, so that a guest that broke out of the emulator can do nothing
//! to the host or its user. [`Rules`] say what it may open and do beyond the descriptors that it
//! inherits; they are plain data, made from a machine's plan. [`confine`] turns them into what the
//! kernel enforces: Landlock ([`landlock`]), a filter of system calls ([`syscalls`]), an unprivileged
//! user where bivouac runs as root, no capabilities, and limits.

mod landlock;
mod program;
mod rules;
mod support;
mod syscalls;

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::sys::Confinement;
pub use rules::{NetworkRule, Rules};
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

impl Display for Enforced {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut by = Vec::new();
        if self.landlock > 0 {
            by.push(format!("Landlock (version {})", self.landlock));
        }
        if self.seccomp {
            by.push("seccomp".to_owned());
        }
        match self.user {
            Some("own") => by.push("a user of its own".to_owned()),
            Some(name) => by.push(format!("the user {name}")),
            None => {}
        }
        match by[..] {
            [] => f.write_str("QEMU is not confined"),
            _ => write!(f, "QEMU is confined by {}", by.join(", ")),
        }
    }
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
        answered: None,
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

/// The confinement of passt, which confines itself by namespaces and a filter of system calls; Landlock
/// would forbid it to change its root.
pub fn for_passt(mode: Mode, program: &Path) -> Confinement {
    if mode == Mode::Off {
        return Confinement::default();
    }
    let user = support().user.filter(|_| is_open_to_all(program));
    Confinement {
        user: user.map(|user| (user, None)),
        max_locked: Some(MAX_LOCKED),
        unprivileged: true,
        answered: None,
        ..Confinement::default()
    }
}
