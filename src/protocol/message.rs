//! The messages of control frames, except the host's requests. They are JSON, so that people
//! can read a recorded conversation.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::crypt::LockedVolume;
use super::disks::{SkippedMount, Survey};
use super::inject::Injection;
use super::{Attributes, ByteString, ExecEnd, FileSystem, RemoteError, Stat, StreamId, WireError};

/// Reads a message; `what` names it in the error. serde_json refuses to nest deeper than 128
/// levels.
pub fn parse<M: DeserializeOwned>(what: &'static str, json: &[u8]) -> Result<M, WireError> {
    serde_json::from_slice(json).map_err(|error| WireError::malformed(what, &error))
}

/// The sender of a hello, so that an echo of one's own is not taken for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Host,
    Agent,
}

/// A number used once, which shows that an answer is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub [u8; 16]);

/// The first message of each side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub from: Role,
    /// The sender's [`super::PROTOCOL`].
    pub protocol: u32,
    pub program: String,
    /// Chosen by the host, repeated by the agent.
    pub nonce: Nonce,
    /// From the agent: the guest's boot failed, and its init started the agent in emergency
    /// mode.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    /// From the host: the commands of the conversation before go on, without their streams.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_commands: bool,
}

/// Everything that the agent sends after its hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentMessage {
    Reply(Reply),
    Notice(Notice),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub id: u64,
    pub result: Result<Response, RemoteError>,
}

/// What a successful request gave. [`super::Operation`] says which belongs to which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    Done,
    /// The program was executed; its process id in the guest.
    Started {
        pid: i32,
    },
    /// The stream is open. `Read` also gives the file's `stat`.
    Opened {
        stat: Option<Stat>,
    },
    Stat(Stat),
    Link(ByteString),
    /// By name.
    Attributes(Attributes),
    FileSystem(FileSystem),
    Survey(Box<Survey>),
    /// The survey waits for the keys of these.
    Locked(Vec<LockedVolume>),
    /// The root is mounted. `failed` has the other mounts that failed.
    Mounted {
        failed: Vec<SkippedMount>,
    },
    Injected(Injection),
}

/// What the agent sends unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// A command ended. Its streams end on their own.
    Ended {
        /// The id of its request.
        exec: u64,
        end: ExecEnd,
    },
    /// A stream from the agent broke off. This takes the place of its `end`.
    Broken {
        stream: StreamId,
        error: RemoteError,
    },
    /// The host broke the protocol, as the agent sees it. The conversation is over.
    Violation { text: String },
    /// A `TarIn` is over.
    Unpacked {
        /// The id of its request.
        id: u64,
        /// The number of entries.
        result: Result<u64, RemoteError>,
    },
}
