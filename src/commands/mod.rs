//! One file a command, each with its own arguments. A command returns what it found as a
//! value; it prints nothing (the `cli` does), except that `run` hands the terminal to the guest.

pub mod accelerator;
pub mod cat;
pub mod chain;
pub(crate) mod chroot;
pub(crate) mod cp;
pub mod df;
pub mod doctor;
pub mod drives;
pub mod exec;
pub mod image_path;
pub mod inside;
pub mod inspect;
pub mod ls;
pub mod report;
pub mod run;
pub mod signals;
pub mod stdout_sink;
pub(crate) mod tail;
pub mod tar_transfer;
pub mod template;
pub mod verdict;
pub mod watch;

use crate::exit::Status;

/// What a command says while it works; results and errors are returned instead.
pub trait Voice {
    /// One line that is replaced by the next and gone in the end.
    fn status(&self, text: &str);
    /// Takes the status line away.
    fn clear_status(&self);
    /// Lines that stay.
    fn say(&self, text: &str);
}

/// Why bivouac could not do what was asked, and what mends it.
#[derive(Debug)]
pub struct Failure {
    /// The error with its chain of causes; the outermost names what was being done.
    pub error: anyhow::Error,
    /// The command or flag that mends it, ready to be typed or read as one line.
    pub mend: Option<String>,
    /// The exit status, 125 unless something more exact is known.
    pub status: Status,
}

impl Failure {
    /// A failure with a known remedy.
    pub fn with_mend(error: impl Into<anyhow::Error>, mend: impl Into<String>) -> Self {
        Self {
            mend: Some(mend.into()),
            ..Self::from(error.into())
        }
    }

    /// The same failure, with what was being done.
    pub fn context(mut self, what: String) -> Self {
        self.error = self.error.context(what);
        self
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            error,
            mend: None,
            status: Status::Failed,
        }
    }
}

impl From<crate::machine::StartError> for Failure {
    fn from(error: crate::machine::StartError) -> Self {
        use crate::machine::StartError;
        let (status, mend) = match &error {
            StartError::Died { .. } => (Status::QemuDied, None),
            StartError::Refused { output, .. } => (Status::Failed, mend_of_refusal(output)),
            _ => (Status::Failed, None),
        };
        Self {
            status,
            mend: mend.map(str::to_owned),
            error: error.into(),
        }
    }
}

/// What mends a refusal of QEMU's, known by QEMU's own words.
fn mend_of_refusal(output: &str) -> Option<&'static str> {
    let said = |words| output.contains(words);
    if said("Could not set up host forwarding rule") {
        Some("--publish with another port of the host: this one is taken")
    } else if said("-display") && said("gtk") || said("Display 'gtk' is not available") {
        Some("apt-get install qemu-system-gui, or --display vnc=:0")
    } else if said("no slot/function available") {
        Some("--bus scsi has room for all of them")
    } else if said("sandbox") && said("not enabled") {
        Some("a QEMU that is built with seccomp, by --qemu PATH")
    } else if said("jit buffer") {
        Some("more address space (`ulimit -v`) or memory: the emulator takes 1 GiB for itself")
    } else if said("cannot set up guest memory") || said("Cannot allocate memory") {
        Some("a smaller --memory")
    } else {
        None
    }
}

/// Errors that know their own mend.
macro_rules! failures_with_a_mend {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let mend = error.mend();
                Self { mend, ..Self::from(anyhow::Error::from(error)) }
            }
        }
    )*};
}

impl From<crate::guest::boot::BootError> for Failure {
    fn from(error: crate::guest::boot::BootError) -> Self {
        use crate::guest::boot::BootError;
        let (mend, status) = match error {
            BootError::Start(error) => return error.into(),
            BootError::Ended { ref end, .. } => match end.status() {
                Status::QemuDied => (None, Status::QemuDied),
                _ => (error.mend(), Status::Failed),
            },
            ref error => (error.mend(), Status::Failed),
        };
        Self {
            mend,
            status,
            error: error.into(),
        }
    }
}

impl From<crate::guest::session::SessionError> for Failure {
    fn from(error: crate::guest::session::SessionError) -> Self {
        use crate::guest::session::SessionError;
        let status = match error {
            SessionError::Refused(_) | SessionError::Over => Status::Failed,
            _ => Status::GuestCrashed,
        };
        Self {
            status,
            ..Self::from(anyhow::Error::from(error))
        }
    }
}

impl From<crate::guest::qga::QgaError> for Failure {
    fn from(error: crate::guest::qga::QgaError) -> Self {
        use crate::guest::qga::QgaError;
        let status = match error {
            QgaError::Refused(_) => Status::Failed,
            _ => Status::GuestCrashed,
        };
        Self {
            status,
            ..Self::from(anyhow::Error::from(error))
        }
    }
}

failures_with_a_mend!(
    crate::guest::appliance::ApplianceError,
    crate::host::firmware::FirmwareError,
    cp::destination::DestinationError,
    image_path::ImagePathError,
    crate::host::kernel::KernelError,
    crate::host::qemu::QemuError,
    crate::host::scratch::ScratchError,
    crate::image::ChainError,
    crate::machine::drives::DriveError,
    crate::template::StoreError,
    crate::template::TemplateError,
);
