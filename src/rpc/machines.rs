//! The machines of a session: parameters, results, and what is told of them unasked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data::Data;
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

/// Returns the last lines on the console of a machine, also of one that boots or has ended.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// The machine; default the first.
    pub machine: Option<String>,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConsoleResult {
    /// Without control characters. The console of a branch begins empty.
    pub lines: Vec<String>,
}

/// Saves a machine as it is, memory included, in this process. It goes on after a short pause, as do
/// its commands.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CheckpointParams {
    /// The machine; default the first.
    pub machine: Option<String>,
    /// Has the guest write everything to its disks before.
    #[serde(default)]
    pub sync: bool,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

/// Milliseconds since the request began, by the name of each phase that was over then.
pub type PhaseTimes = BTreeMap<String, f64>;

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckpointResult {
    /// Its id.
    pub checkpoint: String,
    /// How much memory of this host it takes.
    pub bytes: u64,
    pub phases: PhaseTimes,
}

/// Starts another machine that goes on where a checkpoint was made.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Branch {
    pub checkpoint: String,
    /// The guest's host name; default that of the checkpoint.
    pub hostname: Option<String>,
    /// Gives the guest a machine-id of its own.
    #[serde(default)]
    pub new_machine_id: bool,
    /// Gives up after this many seconds.
    pub timeout: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BranchResult {
    /// The id of the new machine.
    pub machine: String,
    pub phases: PhaseTimes,
}

/// Puts a machine back to a checkpoint, its own or another's: a branch takes its place and its id.
/// Its open requests fail.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// The machine; default the first.
    pub machine: Option<String>,
    pub checkpoint: String,
    /// The guest's host name; default that of the checkpoint.
    pub hostname: Option<String>,
    /// Gives the guest a machine-id of its own.
    #[serde(default)]
    pub new_machine_id: bool,
    /// Gives up after this many seconds; the machine may still be put back then.
    pub timeout: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RevertResult {
    pub phases: PhaseTimes,
}

/// Makes images of the disks of a machine as they are, on this host. It goes on afterwards.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The machine; default the first.
    pub machine: Option<String>,
    /// The image of the first disk on this host; those of further disks are named after it.
    pub path: String,
    /// Makes images that need no other, instead of ones over the image.
    #[serde(default)]
    pub full: bool,
    /// Replaces existing files.
    #[serde(default)]
    pub force: bool,
    /// Gives up after this many seconds; the images may still be made then.
    pub timeout: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KeepResult {
    /// In the order of the disks.
    pub images: Vec<KeptImage>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KeptImage {
    pub path: Data,
    /// The image below it, as its header records it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backing: Option<Data>,
    /// The format of the image below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backing_format: Option<String>,
}

/// Saves a machine as it is, memory included, under a name in the store of templates. It goes on after
/// a short pause, as do its commands.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Save {
    /// The machine; default the first.
    pub machine: Option<String>,
    /// The name, which is taken from any other template that has it.
    pub name: String,
    /// Gives up after this many seconds; the machine may still be saved then.
    pub timeout: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SaveResult {
    /// The template.
    pub template: String,
    pub phases: PhaseTimes,
}

/// Forgets a checkpoint. Its memory is free when its branches have ended, too.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub checkpoint: String,
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
