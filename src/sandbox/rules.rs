//! What a confined process may open and do, as plain data.

use std::path::PathBuf;

use serde::Serialize;

/// What a process may open by name and do, besides what it inherits. Paths that do not exist are
/// ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// Files to read, and directories to list and read everything below.
    pub read: Vec<PathBuf>,
    /// The same, which may also be executed.
    pub execute: Vec<PathBuf>,
    /// Files to read and write.
    pub write: Vec<PathBuf>,
    /// Devices to read, write and control by ioctl(2).
    pub devices: Vec<PathBuf>,
    pub network: NetworkRule,
    /// Whether it may start other processes: a wrapper script may have to.
    pub fork: bool,
    /// Why it is confined less than others.
    pub weaker: Option<&'static str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkRule {
    /// No sockets.
    #[default]
    None,
    /// Servers at these TCP ports and at inherited sockets, and no connections.
    Serve(Vec<u16>),
    /// Connections to these TCP ports, no servers, and UDP.
    Connect(Vec<u16>),
    /// Internet sockets of any kind.
    Internet,
    /// Also UNIX sockets, for a display.
    Local,
}
