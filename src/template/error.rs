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
