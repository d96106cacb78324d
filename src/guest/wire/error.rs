//! What the other end can do wrong. Each ends the conversation.

use thiserror::Error;

use super::StreamId;

/// A violation of the protocol, by the other end.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// A length over the cap of its kind.
    #[error("a frame of kind {kind} with {length} bytes, where {limit} are the most")]
    Oversized {
        /// The kind, as sent.
        kind: u8,
        /// The length, as stated.
        length: u32,
        /// The cap.
        limit: usize,
    },
    /// A length that a kind cannot have.
    #[error("a frame of kind {kind} with {length} bytes")]
    Length {
        /// The kind, as sent.
        kind: u8,
        /// The length, as stated.
        length: u32,
    },
    /// A kind that is not in the table.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// A stream where there must be none, or none where there must be one.
    #[error("a frame of kind {kind} with stream {stream}")]
    StreamOfKind {
        /// The kind, as sent.
        kind: u8,
        /// The stream, as sent.
        stream: u32,
    },
    /// A preamble without a hello behind it.
    #[error("a preamble that no hello follows")]
    Preamble,
    /// A payload that is not the JSON it should be.
    #[error("a {what} that cannot be understood: {why}")]
    Json {
        /// `hello`, `request`, ...
        what: &'static str,
        /// The reason, escaped and cut short.
        why: String,
    },
    /// More data than was credited.
    #[error("more data on stream {0} than was asked for")]
    Overrun(StreamId),
    /// More credit than there can be.
    #[error("a credit of {credit} bytes on stream {stream}, more than its window")]
    Credit {
        /// The stream.
        stream: StreamId,
        /// What was credited.
        credit: u32,
    },
    /// A frame of a stream that does not exist, has ended, or runs the other way.
    #[error("a frame of kind {kind} on stream {stream}, which is not open for it")]
    NotOpen {
        /// The kind.
        kind: u8,
        /// The stream.
        stream: StreamId,
    },
    /// A message that is not expected now.
    #[error("{0}, out of order")]
    OutOfOrder(String),
}

impl WireError {
    /// A failure to read `what`. Parsers quote what they read, so their words are escaped.
    pub(super) fn json(what: &'static str, error: &serde_json::Error) -> Self {
        let why = error.to_string();
        let mut short: String = why.chars().flat_map(char::escape_debug).take(200).collect();
        if short.len() < why.len() {
            short.push_str("...");
        }
        Self::Json { what, why: short }
    }
}
