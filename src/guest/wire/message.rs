//! What control frames say. JSON, so that a conversation can be read.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ByteString, FileSystem, Stat, StreamId, TarOptions, WireError};

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
pub enum Speaker {
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
    pub from: Speaker,
    /// [`super::PROTOCOL`] as the speaker has it.
    pub protocol: u32,
    /// The speaker's program version.
    pub program: String,
    /// The host's, repeated by the agent.
    pub nonce: Nonce,
}

/// A wish of the host. Each gets one [`Reply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Never twice in a conversation.
    pub id: u64,
    /// What to do.
    pub op: Op,
}

/// Everything that the agent can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Starts a command: `Started`, and later the notice `Ended`.
    Exec(Box<Exec>),
    /// Sends a signal to a command's process group.
    Signal {
        /// The id of its request.
        exec: u64,
        /// The signal's number.
        signal: i32,
    },
    /// Sets the size of a command's terminal.
    Resize {
        /// The id of its request.
        exec: u64,
        /// The new size.
        size: WindowSize,
    },
    /// stat(2), or lstat(2): `Stat`.
    Stat {
        /// Of what.
        at: At,
        /// Whether a symbolic link at the end is followed.
        follow: bool,
    },
    /// readlink(2): `Link`.
    ReadLink {
        /// Of what.
        at: At,
    },
    /// The entries of a directory, unsorted: `Opened`, and lines of [`super::Entry`].
    List {
        /// The directory.
        at: At,
        /// Where they go.
        out: StreamId,
    },
    /// Everything below a place, and itself, each directory before its entries, links not
    /// followed: `Opened`, and lines of [`super::Entry`].
    Walk {
        /// Where it begins.
        at: At,
        /// Whether it stays on one filesystem.
        one_file_system: bool,
        /// Where they go.
        out: StreamId,
    },
    /// The bytes of a regular file or block device: `Opened`.
    Read {
        /// Which.
        at: At,
        /// The first byte.
        offset: u64,
        /// How many; to its end where there is none.
        length: Option<u64>,
        /// Where they go.
        out: StreamId,
    },
    /// statvfs(3) of the filesystem that a path is on: `FileSystem`.
    StatFs {
        /// A path on it.
        at: At,
    },
    /// A file or tree as a tar stream in pax format: `Opened`.
    TarOut {
        /// What.
        at: At,
        /// What of it.
        options: TarOptions,
        /// Where it goes.
        out: StreamId,
    },
    /// Unpacks a tar stream below a directory: `Opened`, and later the notice `Unpacked`.
    TarIn {
        /// The directory.
        at: At,
        /// What of it.
        options: TarOptions,
        /// Where it comes from.
        input: StreamId,
    },
    /// Sets the clock to this time since 1970, UTC.
    SetClock {
        /// Whole seconds.
        seconds: i64,
        /// And nanoseconds.
        nanoseconds: u32,
    },
    /// Mixes these bytes into the kernel's random numbers, credits them, and reseeds.
    AddEntropy {
        /// 1 to 4096 bytes of the host's.
        bytes: ByteString,
    },
    /// sync(2).
    Sync,
    /// Powers the machine off, after sync(2). Answered before it happens.
    PowerOff,
    /// Resets the machine, after sync(2). Answered before it happens.
    Reboot,
}

/// A path below a root: no link leads out of the root, and an absolute one starts at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// A directory of the guest, absolute.
    pub root: ByteString,
    /// A path within it.
    pub path: ByteString,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program, looked for in PATH where it has no slash, and its arguments.
    pub argv: Vec<ByteString>,
    /// Variables, set over the others.
    pub env: Vec<(ByteString, ByteString)>,
    /// Start from no variables at all, rather than from the agent's; HOME, USER, LOGNAME,
    /// SHELL and PATH are set in either case unless `env` says otherwise.
    pub clear_env: bool,
    /// The working directory, within the root; by default the user's home, else `/`.
    pub workdir: Option<ByteString>,
    /// Who runs it; the agent's own user by default.
    pub user: Option<User>,
    /// The directory that is its `/`, absolute.
    pub root: Option<ByteString>,
    /// Give it a terminal of this size; `stdout` then carries all output.
    pub pty: Option<WindowSize>,
    /// From the host; /dev/null where there is none.
    pub stdin: Option<StreamId>,
    /// To the host; /dev/null where there is none.
    pub stdout: Option<StreamId>,
    /// To the host; /dev/null where there is none. None with a terminal.
    pub stderr: Option<StreamId>,
}

/// Who runs a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum User {
    /// A name of the root's /etc/passwd, with its groups of /etc/group.
    Name(ByteString),
    /// Numbers. Where there is no group, that of /etc/passwd, else the user's number.
    Id {
        /// The user.
        uid: u32,
        /// The group.
        gid: Option<u32>,
    },
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Anything the agent says after its hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromAgent {
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
    pub result: Result<Answer, Trouble>,
}

/// What a request gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
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
        trouble: Trouble,
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
        result: Result<u64, Trouble>,
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
pub struct Trouble {
    /// At what.
    pub step: Step,
    /// The system's error number, where it was the system's.
    pub errno: Option<i32>,
    /// In words, the name concerned included. Not escaped: the agent is not trusted to.
    pub text: String,
}

/// At what a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
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
    /// The clock, the random numbers, the power.
    System,
}

impl Trouble {
    /// One that the system reported.
    pub fn of(step: Step, what: impl fmt::Display, errno: i32) -> Self {
        let why = std::io::Error::from_raw_os_error(errno);
        Self {
            step,
            errno: Some(errno),
            text: format!("{what}: {why}"),
        }
    }

    /// One of ours.
    pub fn new(step: Step, text: impl Into<String>) -> Self {
        Self {
            step,
            errno: None,
            text: text.into(),
        }
    }
}

impl fmt::Display for Trouble {
    /// Escaped, and of bounded length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| match c {
            '"' | '\'' | '\\' => c.to_string(),
            c => c.escape_debug().to_string(),
        };
        let text: String = self.text.chars().take(1000).map(plain).collect();
        f.write_str(&text)
    }
}
