//! Why a session, or one request of it, failed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::protocol::{PROTOCOL, RemoteError, WireError};
use crate::text::escape::Untrusted;

/// Why a request failed. All but [`SessionError::Refused`] end the session.
#[derive(Clone, Debug, Error)]
pub enum SessionError {
    /// The agent could not do it. The session goes on.
    #[error("{0}")]
    Refused(RemoteError),
    #[error("no response from bivouac's agent within {deadline:?}{seen}")]
    Silent { deadline: Duration, seen: Seen },
    #[error("no response from bivouac's agent{0}")]
    Noise(Seen),
    #[error(
        "the agent in the guest (bivouac {}) speaks protocol {theirs}, and this bivouac {PROTOCOL}",
        Untrusted(program)
    )]
    Version { theirs: u32, program: String },
    #[error("the guest broke the protocol: it sent {0}")]
    Violation(#[from] WireError),
    /// The agent claims that the host broke the protocol.
    #[error("bivouac's agent ended the session: {}", Untrusted(.0))]
    Dismissed(String),
    /// The channel is closed: the machine ended, or its agent did.
    #[error("the guest closed the session")]
    Closed,
    /// The guest was reset, and its agent with it.
    #[error("the guest rebooted")]
    Rebooted,
    /// Another machine took the place of the guest's.
    #[error("the machine was put back to a checkpoint")]
    Reverted,
    /// The session was ended from here.
    #[error("the session is over")]
    Over,
    #[error("the channel to the guest")]
    Channel(#[source] Arc<io::Error>),
}

impl SessionError {
    /// The reason within an error of a stream.
    pub(crate) fn of_stream(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(reason) => reason,
            Err(error) => Self::Channel(Arc::new(error)),
        }
    }

    /// The error of a socket, which has several for a closed other end.
    pub(super) fn of_channel(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Channel(Arc::new(error)),
        }
    }

    /// The system's error number, if the agent's system reported the error.
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
            SessionError::Closed
            | SessionError::Over
            | SessionError::Rebooted
            | SessionError::Reverted => io::ErrorKind::ConnectionAborted,
            SessionError::Violation(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// What arrived instead of a fresh hello.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// How many bytes that were no hello.
    pub skipped: u64,
    /// How many hellos with another nonce.
    pub stale: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { skipped, stale } = self;
        match (skipped, stale) {
            (0, 0) => Ok(()),
            (_, 0) => write!(f, " (received {skipped} bytes that are not a hello)"),
            (0, _) => write!(f, " (received {stale} hellos with another nonce)"),
            _ => write!(
                f,
                " (received {stale} hellos with another nonce, and {skipped} bytes that are not a hello)"
            ),
        }
    }
}
