//! Describes a machine's end to the user.

use std::time::Duration;

use super::failure::Failure;
use crate::exit::Status;
use crate::machine::drives::Drives;
use crate::machine::end::End;
use crate::machine::overlay::Place;

/// A message and the suggested fix; neither if all went well.
pub(super) fn describe(
    end: &End,
    tail: &[String],
    drives: &Drives,
    max_write: Option<u64>,
) -> (Option<String>, Option<String>) {
    match end {
        End::PoweredOff | End::UserQuit => (None, None),
        End::Reset => (
            Some("the guest asked for a reset (a reboot, or a crash of its CPU)".to_owned()),
            Some("--reboot lets it start again".to_owned()),
        ),
        End::Panicked => {
            let is_panic = |line: &&String| line.contains("Kernel panic - not syncing");
            let message = match tail.iter().find(is_panic) {
                Some(line) => format!("the guest's kernel panicked: {line}"),
                None => "the guest panicked".to_owned(),
            };
            (Some(message), None)
        }
        End::BootFailed { how } => (
            Some(format!("the guest did not boot: {how}")),
            Some("what its console tells of; a disk that it misses is given by --disk".to_owned()),
        ),
        End::QemuDied { how, output } => {
            let mut message = format!("QEMU died: {how}");
            if !output.is_empty() {
                message.push_str(&format!("\nQEMU said: {output}"));
            }
            (Some(message), None)
        }
        End::TimedOut { option, length } => (Some(timed_out(option, *length)), None),
        End::WriteFailed {
            node,
            no_space,
            reason,
        } => write_failed(node, *no_space, reason, drives, max_write),
        End::Signalled(_) => (None, None),
    }
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
    let (message, hint) = match end {
        End::PoweredOff => (Some("the guest powered off".to_owned()), None),
        End::Reset => (Some("the guest was reset".to_owned()), None),
        End::UserQuit => (
            Some("the machine was ended from its terminal".to_owned()),
            None,
        ),
        other => describe(other, tail, drives, max_write),
    };
    let mut message = message.unwrap_or_else(|| end.as_str().to_owned());
    let status = match end {
        End::PoweredOff => Status::GuestCrashed,
        other => other.status(),
    };
    if status == Status::GuestCrashed && !tail.is_empty() {
        message.push_str("\nits console said last:");
        for line in tail {
            message.push_str("\n  ");
            message.push_str(line);
        }
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
) -> (Option<String>, Option<String>) {
    // QEMU reports EFBIG only by strerror's text.
    if let (false, Some(limit)) = (no_space, max_write)
        && reason == "File too large"
    {
        return (
            Some(format!(
                "the guest wrote more to {node} than --max-write allows ({limit} bytes)"
            )),
            Some("a larger --max-write".to_owned()),
        );
    }
    match &drives.place {
        Place::Memory => (
            Some(format!(
                "no memory was left for the overlay of {node}: {reason}"
            )),
            Some("--overlay disk".to_owned()),
        ),
        Place::Directory(scratch) => {
            let free = scratch
                .space()
                .map(|space| format!(" ({} free)", crate::text::size::Size(space.free)))
                .unwrap_or_default();
            let directory = scratch.directory().display();
            let what = if no_space {
                "no space was left"
            } else {
                "a write failed"
            };
            (
                Some(format!(
                    "{what} for the overlay of {node} in {directory}{free}: {reason}"
                )),
                Some("--overlay-dir DIR, where there is room".to_owned()),
            )
        }
    }
}
