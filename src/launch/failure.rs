//! Why something could not be done: the error, the suggested fix and the exit status, and how
//! the errors of lower layers are converted to it.

use crate::appliance::boot::BootError;
use crate::exit::Status;
use crate::machine::StartError;
use crate::protocol::ErrorStage;
use crate::session::SessionError;
use crate::session::qga::QgaError;

/// Why bivouac could not do what was asked, and the suggested fix.
#[derive(Debug)]
pub struct Failure {
    /// The error with its chain of causes; the outermost names the operation.
    pub error: anyhow::Error,
    /// The suggested fix: a command or an option, or one line to read.
    pub hint: Option<String>,
    /// The exit status, 125 unless something more specific is known.
    pub status: Status,
}

impl Failure {
    /// A failure with a suggested fix.
    pub fn with_hint(error: impl Into<anyhow::Error>, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..Self::from(error.into())
        }
    }

    /// The same failure with the operation that failed.
    pub fn context(mut self, what: String) -> Self {
        self.error = self.error.context(what);
        self
    }

    /// Any error with a status of its own.
    fn with_status(error: impl Into<anyhow::Error>, status: Status) -> Self {
        Self {
            status,
            ..Self::from(error.into())
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            error,
            hint: None,
            status: Status::Failed,
        }
    }
}

/// For errors that have a method `hint`.
macro_rules! failures_with_hint {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for $crate::launch::failure::Failure {
            fn from(error: $error) -> Self {
                let hint = error.hint();
                Self { hint, ..Self::from(anyhow::Error::from(error)) }
            }
        }
    )*};
}
pub(crate) use failures_with_hint;

failures_with_hint!(
    crate::appliance::ApplianceError,
    crate::host::firmware::FirmwareError,
    crate::host::kernel::KernelError,
    crate::host::passt::PasstError,
    crate::host::qemu::QemuError,
    crate::host::scratch::ScratchError,
    crate::image::ChainError,
    crate::machine::drives::DriveError,
    crate::template::StoreError,
    crate::template::TemplateError,
);

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let hint = match &error {
            StartError::Died { .. } => return Self::with_status(error, Status::QemuDied),
            StartError::Refused { output, .. } => hint_for_refusal(output),
            StartError::Sandbox(error) => error.hint(),
            StartError::Passt { .. } => Some(NO_PASST),
            StartError::Foreign(_) => {
                Some("run it again when no other process writes to the images")
            }
            StartError::Spawn { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Some(TO_READ)
            }
            _ => None,
        };
        Self {
            hint: hint.map(str::to_owned),
            ..anyhow::Error::from(error).into()
        }
    }
}

/// The fix for a refusal by QEMU, which only its own text identifies.
fn hint_for_refusal(output: &str) -> Option<&'static str> {
    let said = |words| output.contains(words);
    if said("Could not set up host forwarding rule") {
        Some("--publish with another port of the host: this one is taken, or below 1024")
    } else if said("-display") && said("gtk") || said("Display 'gtk' is not available") {
        Some("install QEMU's GTK display (Debian: qemu-system-gui), or use --display vnc=:0")
    } else if said("no slot/function available") {
        Some("--bus scsi has room for all of them")
    } else if said("sandbox") && said("not enabled") {
        Some("a QEMU that is built with seccomp, by --qemu PATH")
    } else if said("jit buffer") {
        Some("more address space (`ulimit -v`) or memory: the emulator takes 1 GiB for itself")
    } else if said("cannot set up guest memory") || said("Cannot allocate memory") {
        Some("a smaller --memory")
    } else if said("Permission denied") {
        Some(TO_READ)
    } else {
        None
    }
}

const NO_PASST: &str = "passt needs user namespaces, and a network with IPv4; \
    --net user needs neither, but reaches this host";

const TO_READ: &str =
    "--sandbox-read PATH, if QEMU is a script, or reads a file that --qemu-arg names";

impl From<BootError> for Failure {
    fn from(error: BootError) -> Self {
        match error {
            BootError::Start(error) => error.into(),
            BootError::Ended { ref end, .. } if end.status() == Status::QemuDied => {
                Self::with_status(error, Status::QemuDied)
            }
            error => Self {
                hint: error.hint(),
                ..anyhow::Error::from(error).into()
            },
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Refused(ref refused) if refused.step == ErrorStage::Driver => {
                Self::with_hint(error, another_kernel())
            }
            SessionError::Refused(_) | SessionError::Over => anyhow::Error::from(error).into(),
            _ => Self::with_status(error, Status::GuestCrashed),
        }
    }
}

fn another_kernel() -> &'static str {
    "name another kernel with --kernel FILE; `bivouac doctor --kernel FILE` lists what it reads"
}

impl From<QgaError> for Failure {
    fn from(error: QgaError) -> Self {
        match error {
            QgaError::Refused(_) => anyhow::Error::from(error).into(),
            _ => Self::with_status(error, Status::GuestCrashed),
        }
    }
}
