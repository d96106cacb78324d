//! Why there is no template, or it was not restored.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::store::StoreError;
use crate::appliance::boot::{BootError, MACHINE};
use crate::machine::drives::DriveError;
use crate::machine::snapshot::SnapshotError;
use crate::machine::{StartError, end};
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
    /// Whether it says that the template, or the attempt to make one, does not work. A QEMU that another
    /// process ended (a batch system, a user, the kernel for want of memory) does not.
    pub(super) fn is_of_template(&self) -> bool {
        match self {
            Self::Snapshot(SnapshotError::Qemu(
                StartError::Died { status, .. } | StartError::Refused { status, .. },
            )) => !end::is_from_outside(*status),
            Self::Agent(why) => !matches!(
                why,
                // What was asked of this clone alone, such as a name that it cannot write down.
                SessionError::Refused(_) | SessionError::Closed | SessionError::Channel(_)
            ),
            Self::Snapshot(_) | Self::NoMachineType => true,
            _ => false,
        }
    }

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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn a_qemu_that_another_process_ended_says_nothing_about_its_template() {
        let died = |status| {
            let (status, output) = (ExitStatus::from_raw(status), String::new());
            TemplateError::Snapshot(StartError::Died { status, output }.into()).is_of_template()
        };
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
            assert!(!died(signal as i32), "{signal}");
        }
        for signal in [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGSYS] {
            assert!(died(signal as i32), "{signal}");
        }
        let (exited_by_request, failed) = (0, 1 << 8);
        assert!(!died(exited_by_request) && died(failed));
    }
}
