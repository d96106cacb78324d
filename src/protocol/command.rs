//! A command in the guest: what to run, as whom, and how it ended.

use serde::{Deserialize, Serialize};

use super::ByteString;

/// What to run in the guest, and how. A plain value: change its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program, looked up in PATH if it has no slash, and its arguments.
    pub argv: Vec<ByteString>,
    /// Variables to set. They override all others.
    pub env: Vec<(ByteString, ByteString)>,
    /// Start with an empty environment instead of the agent's. HOME, USER, LOGNAME, SHELL and
    /// PATH are set in either case unless `env` has them.
    pub clear_env: bool,
    /// The working directory, within the root. Default: the user's home, else `/`.
    pub workdir: Option<ByteString>,
    /// Default: the agent's own user.
    pub user: Option<User>,
    /// The directory that becomes its `/`, absolute.
    pub root: Option<ByteString>,
    /// Run it on a terminal of this size. Its stdout then carries all output.
    pub pty: Option<WindowSize>,
}

impl Command {
    /// A program and its arguments, run by the agent's user.
    pub fn new<W: Into<ByteString>>(argv: impl IntoIterator<Item = W>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// The user that runs a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum User {
    /// A name in the root's /etc/passwd, with its groups in /etc/group.
    Name(ByteString),
    /// Numbers. The default group is the one in /etc/passwd, else the user's number.
    Id { uid: u32, gid: Option<u32> },
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecEnd {
    Exited(u8),
    Signalled(i32),
    /// There is no such program. Never sent: the host takes it from the response.
    #[serde(skip)]
    NotFound,
    /// The program could not be executed, with this errno. Never sent either.
    #[serde(skip)]
    NotInvocable(i32),
}
