//! What control frames say, but for the host's requests. JSON, so that a conversation can be
//! read.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::disks::Survey;
use super::seed::Seeding;
use super::{ByteString, FileSystem, Stat, StreamId, WireError};
use crate::text::escape::printable;

/// Reads a message; `what` names it in the error.
///
/// # Errors
/// What is wrong with the JSON. serde_json refuses to nest deeper than 128 levels.
pub fn parse<M: DeserializeOwned>(what: &'static str, json: &[u8]) -> Result<M, WireError> {
    serde_json::from_slice(json).map_err(|error| WireError::json(what, &error))
}

/// Who speaks: so that an echo of one's own hello is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// bivouac.
    Host,
    /// The program in the guest.
    Agent,
}

/// A number used once, by which an answer is known to be fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub [u8; 16]);

/// The first message of each side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who speaks.
    pub from: Role,
    /// [`super::PROTOCOL`] as the speaker has it.
    pub protocol: u32,
    /// The speaker's program version.
    pub program: String,
    /// The host's, repeated by the agent.
    pub nonce: Nonce,
    /// Of the agent's: the guest's init gave up its boot, and started it in emergency mode.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

/// Anything the agent says after its hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentMessage {
    /// The answer to a request.
    Reply(Reply),
    /// News.
    Notice(Notice),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's.
    pub id: u64,
    /// How it went.
    pub result: Result<Response, RemoteError>,
}

/// What a request gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// It is done.
    Done,
    /// The command runs: its program was executed.
    Started {
        /// Its process id in the guest.
        pid: i32,
    },
    /// The stream is open.
    Opened {
        /// For `Read`: what of the file.
        stat: Option<Stat>,
    },
    /// For `Stat`.
    Stat(Stat),
    /// For `ReadLink`.
    Link(ByteString),
    /// For `StatFs`.
    FileSystem(FileSystem),
    /// For `Survey`.
    Survey(Box<Survey>),
    /// For `Mount`: the root is mounted.
    Mounted {
        /// What of the other mounts failed, one sentence each.
        failed: Vec<String>,
    },
    /// For `Seed`.
    Seeded(Seeding),
}

/// What the agent says unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// A command ended. Its streams end by themselves.
    Ended {
        /// The id of its request.
        exec: u64,
        /// How.
        end: ExecEnd,
    },
    /// A stream of the agent's broke off; it has no `end`.
    Broken {
        /// Which.
        stream: StreamId,
        /// Why.
        error: RemoteError,
    },
    /// The host broke the protocol, in the agent's eyes; the conversation is over.
    Violation {
        /// How.
        text: String,
    },
    /// A `TarIn` is over.
    Unpacked {
        /// The id of its request.
        id: u64,
        /// The number of entries.
        result: Result<u64, RemoteError>,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecEnd {
    /// With this status.
    Exited(u8),
    /// By this signal.
    Signalled(i32),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    /// At what.
    pub step: ErrorStage,
    /// The system's error number, where it was the system's.
    pub errno: Option<i32>,
    /// In words, the name concerned included. Not escaped: the agent is not trusted to.
    pub text: String,
}

/// At what a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorStage {
    /// The request itself makes no sense.
    Request,
    /// The root directory.
    Root,
    /// The user or a group is not known, or may not be taken on.
    User,
    /// The working directory.
    Workdir,
    /// The program was not found.
    Find,
    /// The program was found and could not be executed.
    Invoke,
    /// A process, pipe or terminal.
    Process,
    /// A file.
    File,
    /// The tar stream is not one.
    Tar,
    /// A disk, or a filesystem that is to be mounted.
    Disk,
    /// Nothing in the image that could start the agent.
    Seed,
    /// The clock, the random numbers, the power.
    System,
}

impl RemoteError {
    /// One that the system reported.
    pub fn of(step: ErrorStage, what: impl fmt::Display, errno: i32) -> Self {
        // The system's words, without the number that Rust puts behind them.
        let why = std::io::Error::from_raw_os_error(errno).to_string();
        let why = why.split(" (os error").next().unwrap_or(&why);
        Self {
            step,
            errno: Some(errno),
            text: format!("{what}: {why}"),
        }
    }

    /// One of ours.
    pub fn new(step: ErrorStage, text: impl Into<String>) -> Self {
        Self {
            step,
            errno: None,
            text: text.into(),
        }
    }
}

impl fmt::Display for RemoteError {
    /// Escaped, and of bounded length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.text.chars().take(1000).collect();
        f.write_str(&printable(&text))
    }
}
