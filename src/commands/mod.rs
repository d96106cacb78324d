//! One file a command, each with its own arguments. A command returns what it found as a
//! value; it prints nothing (the `cli` does), except that `run` hands the terminal to the guest.

pub mod chain;
pub mod doctor;
pub mod run;

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
        let status = match error {
            crate::machine::StartError::Died { .. } => Status::QemuDied,
            _ => Status::Failed,
        };
        Self {
            status,
            ..Self::from(anyhow::Error::from(error))
        }
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

failures_with_a_mend!(
    crate::host::firmware::FirmwareError,
    crate::host::kernel::KernelError,
    crate::host::qemu::QemuError,
    crate::host::scratch::ScratchError,
    crate::image::ChainError,
);
