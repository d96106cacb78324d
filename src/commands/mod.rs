//! One file a command, each with its own arguments. A command returns what it found as a
//! value; it prints nothing (the `cli` does), except that `run` hands the terminal to the guest.

pub mod chain;
pub mod doctor;
pub mod run;

use crate::exit::Status;

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
        Self { mend: Some(mend.into()), ..Self::from(error.into()) }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { error, mend: None, status: Status::Failed }
    }
}

impl From<crate::image::ChainError> for Failure {
    fn from(error: crate::image::ChainError) -> Self {
        let mend = error.mend();
        Self { error: error.into(), mend, status: Status::Failed }
    }
}
