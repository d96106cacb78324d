//! Commands in a guest: their parameters, results and output.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data::Data;
use super::line::{Id, Notification};

/// Runs a command and waits for its end.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The machine; default the first.
    pub machine: Option<String>,
    /// The program, looked up in PATH if it has no slash, and its arguments.
    pub argv: Vec<Data>,
    /// Environment variables to set.
    #[serde(default)]
    pub env: BTreeMap<String, Data>,
    /// The working directory; default the user's home.
    pub cwd: Option<Data>,
    /// NAME, UID or UID:GID of the guest; default root.
    pub user: Option<String>,
    /// All of its standard input; by default there is none.
    pub stdin: Option<Data>,
    /// Leaves standard input open for `write`, after what `stdin` has.
    #[serde(default)]
    pub open_stdin: bool,
    /// Gives it a terminal of this size. Its standard output then holds all output.
    pub tty: Option<WindowSize>,
    /// Sends its output as `output` notifications instead of with the result.
    #[serde(default)]
    pub stream: bool,
    /// How many bytes of each stream the result holds; default 1 MiB, at most 16 MiB. The rest is
    /// dropped.
    pub limit: Option<u64>,
    /// Kills the command after this many seconds.
    pub timeout: Option<f64>,
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

/// How a command ended.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExecResult {
    /// Its exit status, or 128+N if signal N killed it.
    pub status: u8,
    /// The signal that killed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Its standard output, unless it was streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Data>,
    /// Its standard error, unless it was streamed or it had a terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Data>,
    /// Whether some of the output was dropped: it was over `limit`, or the guest could not send it.
    pub truncated: bool,
    /// Whether it was killed because `timeout` ran out.
    pub timed_out: bool,
}

/// Writes to the standard input of a command that was started with `open_stdin`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// The id of its `exec` request.
    pub exec: Id,
    #[serde(default = "nothing")]
    pub data: Data,
    /// Closes the stream after `data`.
    #[serde(default)]
    pub eof: bool,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

fn nothing() -> Data {
    Data::Text(String::new())
}

/// Sends a signal to the process group of a command.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The id of its `exec` request.
    pub exec: Id,
    pub signal: SignalName,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

/// A signal by number or by name: `15`, `TERM`, `SIGTERM`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum SignalName {
    Number(i32),
    Name(String),
}

/// Sets the size of the terminal of a command.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// The id of its `exec` request.
    pub exec: Id,
    pub rows: u16,
    pub columns: u16,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

/// The result of methods that have nothing to tell.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Done {}

/// A piece of the output of a command that streams it. All pieces come before the result.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Output {
    /// The id of its `exec` request.
    pub exec: Id,
    pub stream: StreamName,
    pub data: Data,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum StreamName {
    Stdout,
    Stderr,
}

impl Notification for Output {
    const METHOD: &'static str = "output";
}
