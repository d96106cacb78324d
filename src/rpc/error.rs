//! The errors of the protocol: a code, a message, and what else a client can use.

use serde::{Deserialize, Serialize};

/// What went wrong. JSON-RPC 2.0 reserves -32768 to -32000; the first five codes are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The line is not JSON.
    Parse,
    /// The message is not a request.
    InvalidRequest,
    UnknownMethod,
    InvalidParams,
    /// bivouac has a defect.
    Internal,
    /// bivouac could not do it.
    Failed,
    /// The guest's system refused it; `errno` says why, if the system did.
    Refused,
    /// The machine has ended.
    MachineEnded,
    /// The guest rebooted, or the machine was put back to a checkpoint, while the request was open.
    Interrupted,
    /// There is no such machine, checkpoint or command.
    Unknown,
    /// Too much was asked for, or at a time.
    Limit,
    /// The time of the request ran out.
    TimedOut,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Parse,
        Self::InvalidRequest,
        Self::UnknownMethod,
        Self::InvalidParams,
        Self::Internal,
        Self::Failed,
        Self::Refused,
        Self::MachineEnded,
        Self::Interrupted,
        Self::Unknown,
        Self::Limit,
        Self::TimedOut,
    ];

    pub fn code(self) -> i32 {
        match self {
            Self::Parse => -32700,
            Self::InvalidRequest => -32600,
            Self::UnknownMethod => -32601,
            Self::InvalidParams => -32602,
            Self::Internal => -32603,
            Self::Failed => -32000,
            Self::Refused => -32001,
            Self::MachineEnded => -32002,
            Self::Interrupted => -32003,
            Self::Unknown => -32004,
            Self::Limit => -32005,
            Self::TimedOut => -32006,
        }
    }
}

/// The error object of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RpcError {
    /// The code of the kind.
    pub code: i32,
    /// What failed and why, in one or several lines.
    pub message: String,
    pub data: ErrorData,
}

/// What else is known of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorData {
    pub kind: ErrorKind,
    /// The suggested fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The error number of the guest's system by its name, such as `ENOENT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
}

impl RpcError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            code: kind.code(),
            message: message.into(),
            data: ErrorData {
                kind,
                hint: None,
                errno: None,
            },
        }
    }

    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParams, message)
    }

    /// The same error with a suggested fix.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.data.hint = Some(hint.into());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.data.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own() {
        let codes: std::collections::BTreeSet<_> = ErrorKind::ALL.map(ErrorKind::code).into();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
    }
}
