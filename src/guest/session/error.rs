//! Why a session, or one request of it, failed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::guest::wire::{PROTOCOL, RemoteError, WireError};

/// Why a request failed. All but [`SessionError::Refused`] end the session.
#[derive(Clone, Debug, Error)]
pub enum SessionError {
    /// The agent could not do it; the session goes on.
    #[error("{0}")]
    Refused(RemoteError),
    /// No fresh answer to the hello.
    #[error("the guest's agent did not answer within {deadline:?}{}", seen(*skipped, *stale))]
    Silent {
        /// How long it was waited for.
        deadline: Duration,
        /// How many bytes came that were no hello.
        skipped: u64,
        /// How many hellos came that answered somebody else.
        stale: u64,
    },
    /// Nothing but noise instead of a hello.
    #[error("the guest's agent is not to be heard{}", seen(*skipped, *stale))]
    Noise {
        /// How many bytes came.
        skipped: u64,
        /// How many hellos came that answered somebody else.
        stale: u64,
    },
    /// It speaks another version of the protocol.
    #[error(
        "the agent in the guest (bivouac {}) speaks protocol {theirs}, and this bivouac {PROTOCOL}",
        program.escape_debug()
    )]
    Version {
        /// The agent's.
        theirs: u32,
        /// Its program version.
        program: String,
    },
    /// It broke the protocol.
    #[error("the guest broke the protocol: it sent {0}")]
    Violation(#[from] WireError),
    /// It says that we did.
    #[error("the guest's agent ended the session: {}", .0.escape_debug())]
    Dismissed(String),
    /// The channel is closed: the machine ended, or its agent did.
    #[error("the guest's end of the session is closed")]
    Closed,
    /// The session was ended from here.
    #[error("the session is over")]
    Over,
    /// The channel failed.
    #[error("the channel to the guest")]
    Channel(#[source] Arc<io::Error>),
}

impl SessionError {
    /// The reason within an error of a stream.
    pub fn of_stream(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(reason) => reason,
            Err(error) => Self::Channel(Arc::new(error)),
        }
    }

    /// The system's error number, of what the agent could not do.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(error) => error.errno,
            _ => None,
        }
    }
}

impl From<SessionError> for io::Error {
    fn from(error: SessionError) -> Self {
        let kind = match &error {
            SessionError::Closed | SessionError::Over => io::ErrorKind::ConnectionAborted,
            SessionError::Violation(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

fn seen(skipped: u64, stale: u64) -> String {
    match (skipped, stale) {
        (0, 0) => String::new(),
        (skipped, 0) => format!(" ({skipped} bytes came that are no hello)"),
        (0, stale) => format!(" ({stale} hellos came with another nonce)"),
        (skipped, stale) => format!(
            " ({stale} hellos came with another nonce, and {skipped} bytes that are no hello)"
        ),
    }
}
