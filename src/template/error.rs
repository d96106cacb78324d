//! Why there is no template, or it was not restored.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::store::StoreError;
use crate::appliance::boot::{BootError, MACHINE};
use crate::machine::StartError;
use crate::machine::drives::DriveError;
use crate::machine::snapshot::SnapshotError;
use crate::session::SessionError;

/// How long another process may take to build the template before this one boots instead.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_secs(180);

/// How long a guest's agent may take to read what it was sent before a checkpoint is made.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the saved machine's agent")]
    Agent(#[from] SessionError),
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error("QEMU has no machine type with the alias {MACHINE}")]
    NoMachineType,
    #[error("the template {} is damaged", .0.display())]
    Damaged(PathBuf),
    #[error("no template can be made: {0}")]
    Ineligible(String),
    #[error("QEMU does not use the accelerator of the template")]
    Accelerator,
    #[error("another process has been building the template for {} s", .0.as_secs())]
    Busy(Duration),
    #[error("the machine {name} cannot be restored: {what} was changed since it was saved")]
    Changed { name: String, what: String },
    #[error("the machine {0} is gone")]
    Gone(String),
    #[error("the guest's agent has not taken what was sent to it for {} s", IDLE_LIMIT.as_secs())]
    AgentBusy,
    #[error("the guest's memory is not a file: the machine was not started for checkpoints")]
    NoMemoryFile,
    #[error("reading the guest's memory from QEMU")]
    Memory(#[source] io::Error),
    #[error("another version of QEMU than the one that made the checkpoint")]
    OtherQemu,
    #[error("making a template")]
    Io(#[from] io::Error),
}

impl From<StartError> for TemplateError {
    fn from(error: StartError) -> Self {
        Self::Boot(error.into())
    }
}

impl TemplateError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Boot(error) => error.hint(),
            Self::Drive(error) => error.hint(),
            Self::NoMemoryFile => Some("start it with `VmSpec::checkpoints`".to_owned()),
            Self::Memory(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(
                "checkpoints need the right to read QEMU's memory: CAP_SYS_PTRACE for root in a \
                 container, and kernel.yama.ptrace_scope of 0 or 1"
                    .to_owned(),
            ),
            Self::Changed { name, .. } => Some(format!(
                "`bivouac template build --name {name} ...` saves it again"
            )),
            _ => None,
        }
    }

    /// Whether the user should be warned: something is wrong on this host.
    pub(crate) fn deserves_warning(&self) -> bool {
        match self {
            Self::Store(error) => !matches!(error, StoreError::Unusable { .. }),
            Self::Damaged(_) | Self::Busy(_) | Self::Io(_) => true,
            _ => false,
        }
    }
}
