//! The machines of a session: parameters, results, and what is told of them unasked.

use serde::{Deserialize, Serialize};

use super::line::Notification;

/// Ends a machine at once. Nothing in it is kept.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The machine; default the first.
    pub machine: Option<String>,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

/// The agent of a machine answers: after its start, and after each reboot.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MachineReady {
    pub machine: String,
    /// The version of the protocol.
    pub protocol: u32,
    /// The version of bivouac.
    pub version: &'static str,
}

/// The guest was reset. Its open requests have failed; those that come now wait until its agent
/// answers again.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MachineRebooted {
    pub machine: String,
}

/// A machine has ended.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MachineEnded {
    pub machine: String,
    pub reason: EndReason,
    /// How it ended, in one or several lines.
    pub message: String,
    /// The suggested fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// By `stop`.
    Stopped,
    /// The guest powered off.
    PoweredOff,
    /// The guest crashed, did not boot, or its agent broke the protocol.
    Crashed,
    /// A time limit of the command line ran out.
    TimedOut,
    /// QEMU died.
    QemuDied,
    /// bivouac could not start it, or keep it running.
    Failed,
}

impl Notification for MachineReady {
    const METHOD: &'static str = "machine-ready";
}

impl Notification for MachineRebooted {
    const METHOD: &'static str = "machine-rebooted";
}

impl Notification for MachineEnded {
    const METHOD: &'static str = "machine-ended";
}
