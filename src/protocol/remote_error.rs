//! Errors that the agent reports.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::text::escape::Untrusted;

const EIO: i32 = 5;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    /// The part of the request that failed.
    pub step: ErrorStage,
    /// The system's error number, if the system reported the error.
    pub errno: Option<i32>,
    /// A sentence that names the object concerned. Untrusted, and not escaped.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorStage {
    /// The request itself is invalid.
    Request,
    Root,
    /// A user or group is unknown, or may not be switched to.
    User,
    Workdir,
    Find,
    /// The program was found and could not be executed.
    Invoke,
    /// A process, pipe or terminal.
    Process,
    File,
    /// The tar stream is malformed.
    Tar,
    /// A disk, or a filesystem to mount.
    Disk,
    /// The kernel has no driver for a filesystem.
    Driver,
    /// The image has nothing that could start the agent.
    Inject,
    /// The clock, the random pool, the power.
    System,
}

impl RemoteError {
    /// An error that the system reported: `what: the text of errno`. `EIO` if it did not.
    pub fn of(step: ErrorStage, what: impl fmt::Display, error: impl Into<io::Error>) -> Self {
        let errno = error.into().raw_os_error().unwrap_or(EIO);
        // Rust appends the number, which is noise here.
        let why = io::Error::from_raw_os_error(errno).to_string();
        let why = why.split(" (os error").next().unwrap_or(&why);
        Self {
            step,
            errno: Some(errno),
            text: format!("{what}: {why}"),
        }
    }

    /// An error that the system did not report.
    pub fn new(step: ErrorStage, text: impl Into<String>) -> Self {
        Self {
            step,
            errno: None,
            text: text.into(),
        }
    }
}

impl fmt::Display for RemoteError {
    /// The text as [`Untrusted`] shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Untrusted(&self.text).fmt(f)
    }
}
