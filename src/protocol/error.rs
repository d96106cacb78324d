//! Violations of the protocol. Each ends the conversation.

use thiserror::Error;

use super::{MAX_RECORD, StreamId};

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// The cap of the kind is `limit`.
    #[error("a frame of kind {kind} with {length} bytes, more than the limit of {limit}")]
    Oversized { kind: u8, length: u32, limit: usize },
    #[error("a frame of kind {kind} with {length} bytes")]
    Length { kind: u8, length: u32 },
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    #[error("a frame of kind {kind} with stream {stream}")]
    StreamOfKind { kind: u8, stream: u32 },
    #[error("a preamble without a hello")]
    Preamble,
    /// `what` is `hello`, `request` or the like; `why` is escaped and cut short.
    #[error("a malformed {what}: {why}")]
    Malformed { what: &'static str, why: String },
    #[error("a record of {0} bytes, more than the limit of {MAX_RECORD}")]
    Record(u32),
    #[error("more data on stream {0} than its window")]
    Overrun(StreamId),
    #[error("a credit of {credit} bytes on stream {stream}, more than its window")]
    Credit { stream: StreamId, credit: u32 },
    /// The stream does not exist, has ended, or runs in the other direction.
    #[error("a frame of kind {kind} on stream {stream}, which is not open for it")]
    NotOpen { kind: u8, stream: StreamId },
    #[error("{0}, out of order")]
    OutOfOrder(String),
}

impl WireError {
    /// A failure to parse `what`. Parsers quote their input, so their messages are escaped.
    pub(super) fn malformed(what: &'static str, error: &impl ToString) -> Self {
        let why = error.to_string();
        let mut short: String = why.chars().flat_map(char::escape_debug).take(200).collect();
        if short.len() < why.len() {
            short.push_str("...");
        }
        Self::Malformed { what, why: short }
    }
}
