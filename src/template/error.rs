//! Why there is no template, or it was not restored.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::store::StoreError;
use crate::guest::boot::{BootError, MACHINE};
use crate::guest::session::SessionError;
use crate::machine::StartError;
use crate::machine::drives::DriveError;
use crate::machine::snapshot::SnapshotError;

/// How long another process may take to build the template before this one boots by itself.
pub(super) const OTHERS_BUILD: Duration = Duration::from_secs(180);

/// Why there is no template, or it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The appliance that was to be saved.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Saving or restoring.
    #[error(transparent)]
    Saving(#[from] SnapshotError),
    /// The agent.
    #[error("the saved machine's agent")]
    Agent(#[from] SessionError),
    /// An image changed meanwhile.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// What QEMU said it would do, it did not.
    #[error("QEMU has no machine type with the alias {MACHINE}")]
    NoMachineType,
    /// A file of it does not have its digest.
    #[error("the template {} is damaged", .0.display())]
    Damaged(PathBuf),
    /// Such a machine is not saved.
    #[error("no template can be made: {0}")]
    Unfit(String),
    /// QEMU chose another accelerator than was asked for.
    #[error("QEMU does not use the accelerator of the template")]
    Accelerator,
    /// Another process has been building it for too long.
    #[error("another process has been building the template for {} s", OTHERS_BUILD.as_secs())]
    Others,
    /// Something of this host's.
    #[error("making a template")]
    Io(#[from] io::Error),
}

impl From<StartError> for TemplateError {
    fn from(error: StartError) -> Self {
        Self::Boot(error.into())
    }
}

impl TemplateError {
    /// What helps.
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.mend(),
            Self::Boot(error) => error.mend(),
            Self::Drive(error) => error.mend(),
            _ => None,
        }
    }

    /// Whether the user should hear of it: something is wrong on this host.
    pub(super) fn is_worth_a_word(&self) -> bool {
        match self {
            Self::Store(error) => !matches!(error, StoreError::Unusable { .. }),
            Self::Damaged(_) | Self::Others | Self::Io(_) => true,
            _ => false,
        }
    }
}
