//! What came of a VM, and how its end is described to the user.

use std::time::Duration;

use super::failure::Failure;
use super::prepare::PreparedVm;
use crate::exit::Status;
use crate::image::chain::Chain;
use crate::image::layer::Layer;
use crate::machine::drives::Drives;
use crate::machine::end::End;
use crate::machine::overlay::{Overlay, Place};
use crate::session::qga;
use crate::text::escape::{Quoted, Untrusted, output_lines};
use crate::text::size::Size;

#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing was started: QEMU's command line, ready for a shell.
    DryRun(String),
    CommandExited {
        status: Status,
    },
    VmEnded {
        status: Status,
        end: End,
        /// What the user should know, if it was no success.
        message: Option<String>,
        hint: Option<String>,
        tail: Vec<String>,
    },
}

impl Outcome {
    pub fn status(&self) -> Status {
        match self {
            Self::DryRun(_) => Status::Success,
            Self::VmEnded { status, .. } | Self::CommandExited { status } => *status,
        }
    }
}

impl PreparedVm {
    /// The outcome of a machine that ran to its end.
    pub(crate) fn ended(&self, end: End, tail: Vec<String>) -> Outcome {
        let (message, hint) = describe(&end, &tail, &self.drives, self.max_write);
        Outcome::VmEnded {
            status: end.status(),
            end,
            message,
            hint,
            tail,
        }
    }

    /// The outcome of a machine that ended before its command did.
    pub(crate) fn ended_early(&self, end: End, tail: Vec<String>) -> Outcome {
        let failure = self.failure(&end, &tail);
        let is_users_choice = matches!(end, End::UserQuit | End::Signalled(_));
        Outcome::VmEnded {
            status: failure.status,
            message: (!is_users_choice).then(|| format!("{:#}", failure.error)),
            hint: failure.hint,
            end,
            tail,
        }
    }

    /// A machine that ended before its command did, as an error.
    pub(crate) fn failure(&self, end: &End, tail: &[String]) -> Failure {
        let End::TimedOut {
            option: "--boot-timeout",
            length,
        } = end
        else {
            return failure(end, tail, &self.drives, self.max_write);
        };
        let port = self.plan.agent.as_ref();
        let (agent, hint) = match port.is_some_and(|port| port.name == qga::PORT) {
            true => (
                "the QEMU guest agent",
                "a longer --boot-timeout, or an image that has and starts qemu-guest-agent",
            ),
            false => (
                "the guest's agent",
                "a longer --boot-timeout, or --console-log FILE to see what keeps it",
            ),
        };
        let seconds = length.as_secs_f64();
        let mut message = format!("{agent} did not answer within {seconds} s");
        push_console(&mut message, tail);
        Failure {
            error: anyhow::Error::msg(message),
            hint: Some(hint.to_owned()),
            status: end.status(),
        }
    }
}

/// A message and the suggested fix; neither if all went well.
fn describe(
    end: &End,
    tail: &[String],
    drives: &Drives,
    max_write: Option<u64>,
) -> (Option<String>, Option<String>) {
    let (message, hint) = match end {
        End::PoweredOff | End::UserQuit | End::Signalled(_) => return (None, None),
        End::Reset => (
            "the guest asked for a reset (a reboot, or a crash of its CPU)".to_owned(),
            Some("--reboot lets it start again"),
        ),
        End::Panicked => {
            let is_panic = |line: &&String| line.contains("Kernel panic - not syncing");
            let message = match tail.iter().find(is_panic) {
                Some(line) => format!("the guest's kernel panicked: {line}"),
                None => "the guest panicked".to_owned(),
            };
            (message, None)
        }
        End::BootFailed(stop) => (
            format!("the guest did not boot: {}", stop.how),
            Some(stop.hint),
        ),
        End::QemuDied { how, output, .. } => {
            let mut message = format!("QEMU died: {how}");
            if !output.is_empty() {
                message.push_str(&format!("\nQEMU said: {}", output_lines(output)));
            }
            // What the kernel does to a process when memory runs out.
            let is_killed = how == "killed by SIGKILL";
            (
                message,
                is_killed
                    .then_some("a smaller --memory, if the host or the container ran out of it"),
            )
        }
        End::TimedOut { option, length } => (timed_out(option, *length), None),
        End::ReadFailed { node, reason } => (read_failed(node, reason, drives), None),
        // A part of a cluster is written with what is read of the rest.
        End::WriteFailed { node, reason, .. }
            if reason == "Input/output error"
                && image_of(node, drives).is_some_and(|image| image.remote().is_some()) =>
        {
            (read_failed(node, reason, drives), None)
        }
        End::WriteFailed {
            node,
            no_space,
            reason,
        } => {
            let (message, hint) = write_failed(node, *no_space, reason, drives, max_write);
            (message, Some(hint))
        }
    };
    (Some(message), hint.map(str::to_owned))
}

fn timed_out(option: &str, length: Duration) -> String {
    format!("{option} ran out after {} s", length.as_secs_f64())
}

/// A signal or a deadline, before there was a machine.
pub(super) fn stopped(end: &End) -> Failure {
    let message = match end {
        End::TimedOut { option, length } => timed_out(option, *length),
        other => other.as_str().to_owned(),
    };
    Failure {
        status: end.status(),
        ..anyhow::Error::msg(message).into()
    }
}

/// The end of a machine that still had work to do.
pub(super) fn failure(
    end: &End,
    tail: &[String],
    drives: &Drives,
    max_write: Option<u64>,
) -> Failure {
    let (described, hint) = describe(end, tail, drives, max_write);
    let (mut message, hint) = match end {
        End::PoweredOff => ("the guest powered off".to_owned(), None),
        End::Reset => ("the guest was reset".to_owned(), None),
        End::UserQuit => ("the machine was ended from its terminal".to_owned(), None),
        other => (described.unwrap_or_else(|| other.as_str().to_owned()), hint),
    };
    let status = match end {
        End::PoweredOff => Status::GuestCrashed,
        other => other.status(),
    };
    if status == Status::GuestCrashed {
        push_console(&mut message, tail);
    }
    Failure {
        error: anyhow::Error::msg(message),
        hint,
        status,
    }
}

fn push_console(message: &mut String, tail: &[String]) {
    if !tail.is_empty() {
        message.push_str("\nlast lines of its console:");
        message.extend(tail.iter().map(|line| format!("\n  {line}")));
    }
}

/// The image below the overlay of a node.
fn image_of<'a>(node: &str, drives: &'a Drives) -> Option<&'a Layer> {
    // A checkpoint numbers the nodes of a disk.
    let disk = node.split_once('-').map_or(node, |(disk, _)| disk);
    let mut names = drives.overlays().iter().map(Overlay::name);
    let place = names.position(|name| name == disk)?;
    drives.chain_of(place).map(Chain::image)
}

fn read_failed(node: &str, reason: &str, drives: &Drives) -> String {
    let reason = Untrusted(reason);
    match image_of(node, drives) {
        Some(image) => format!("{} cannot be read any more: {reason}", Quoted(image.path())),
        None => format!("{} cannot be read any more: {reason}", Untrusted(node)),
    }
}

fn write_failed(
    node: &str,
    no_space: bool,
    reason: &str,
    drives: &Drives,
    max_write: Option<u64>,
) -> (String, &'static str) {
    let node = Untrusted(node);
    // QEMU reports EFBIG only by strerror's text.
    if let (false, Some(limit)) = (no_space, max_write)
        && reason == "File too large"
    {
        return (
            format!("the guest wrote more to {node} than --max-write allows ({limit} bytes)"),
            "a larger --max-write",
        );
    }
    let scratch = match &drives.place {
        Place::Directory(scratch) => scratch,
        Place::Memory => {
            return (
                format!(
                    "no memory was left for the overlay of {node}: {}",
                    Untrusted(reason)
                ),
                "--overlay disk",
            );
        }
    };
    let free = scratch.space().map(|space| Size(space.free));
    let free = free.map(|free| format!(" ({free} free)"));
    let what = match no_space {
        true => "no space was left",
        false => "a write failed",
    };
    (
        format!(
            "{what} for the overlay of {node} in {}{}: {}",
            scratch.directory().display(),
            free.unwrap_or_default(),
            Untrusted(reason),
        ),
        "--overlay-dir DIR, where there is room",
    )
}
