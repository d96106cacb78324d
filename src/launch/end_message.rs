//! Describes a machine's end to the user.

use std::time::Duration;

use super::failure::Failure;
use crate::exit::Status;
use crate::machine::drives::Drives;
use crate::machine::end::End;
use crate::machine::overlay::Place;
use crate::text::size::Size;

/// A message and the suggested fix; neither if all went well.
pub(super) fn describe(
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
        End::BootFailed { how } => (
            format!("the guest did not boot: {how}"),
            Some("what its console tells of; a disk that it misses is given by --disk"),
        ),
        End::QemuDied { how, output } => {
            let mut message = format!("QEMU died: {how}");
            if !output.is_empty() {
                message.push_str(&format!("\nQEMU said: {output}"));
            }
            (message, None)
        }
        End::TimedOut { option, length } => (timed_out(option, *length), None),
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
    if status == Status::GuestCrashed && !tail.is_empty() {
        message.push_str("\nits console said last:");
        message.extend(tail.iter().map(|line| format!("\n  {line}")));
    }
    Failure {
        error: anyhow::Error::msg(message),
        hint,
        status,
    }
}

fn write_failed(
    node: &str,
    no_space: bool,
    reason: &str,
    drives: &Drives,
    max_write: Option<u64>,
) -> (String, &'static str) {
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
                format!("no memory was left for the overlay of {node}: {reason}"),
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
            "{what} for the overlay of {node} in {}{}: {reason}",
            scratch.directory().display(),
            free.unwrap_or_default(),
        ),
        "--overlay-dir DIR, where there is room",
    )
}
