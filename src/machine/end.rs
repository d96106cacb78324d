//! How a machine ended, determined from QEMU's events and exit status. Pure.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use qapi::qmp::{Event, ShutdownCause};

use super::EXIT_TIMEOUT;
use super::boot_stop::BootStop;
use crate::exit::Status;

/// How long the console is still read after a panic, so that its trace is complete.
const PANIC_DRAIN: Duration = Duration::from_millis(300);

/// How the guest ended, as seen before QEMU exited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestExit {
    Known(End),
    /// SHUTDOWN, host-signal and the like: another process ended QEMU. Bivouac never does so.
    Ended,
    /// The QMP connection was lost or malformed.
    QmpLost(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    PoweredOff,
    /// The guest requested a reset, which was not allowed: a reboot, or a triple fault.
    Reset,
    /// GUEST_PANICKED, or the kernel's message on the console.
    Panicked,
    /// Ctrl-A X, or the window was closed.
    UserQuit,
    /// The boot stopped, and nobody is at the console.
    BootFailed(&'static BootStop),
    /// A write to an overlay failed on the host (BLOCK_IO_ERROR).
    WriteFailed {
        node: String,
        /// ENOSPC, according to QEMU.
        no_space: bool,
        /// strerror's text.
        reason: String,
    },
    /// A read of an image on another host failed.
    ReadFailed {
        node: String,
        /// strerror's text.
        reason: String,
    },
    QemuDied {
        how: String,
        output: String,
        /// Of a signal that asks for the end.
        by_signal: bool,
    },
    TimedOut {
        option: &'static str,
        length: Duration,
    },
    /// Bivouac got this signal.
    Signalled(i32),
}

impl GuestExit {
    /// How long QEMU may take to exit by itself.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::Known(End::Panicked) => PANIC_DRAIN,
            Self::Known(End::WriteFailed { .. } | End::ReadFailed { .. }) | Self::QmpLost(_) => {
                Duration::ZERO
            }
            _ => EXIT_TIMEOUT,
        }
    }
}

impl End {
    pub fn status(&self) -> Status {
        match self {
            Self::PoweredOff | Self::UserQuit => Status::Success,
            Self::Reset | Self::Panicked | Self::BootFailed(_) => Status::GuestCrashed,
            Self::WriteFailed { .. } | Self::ReadFailed { .. } => Status::Failed,
            Self::QemuDied { .. } => Status::QemuDied,
            Self::TimedOut { .. } => Status::TimedOut,
            Self::Signalled(signal) => Status::Signalled(*signal),
        }
    }

    /// Whether its disks are as the guest left them, or as the user did.
    pub fn may_be_kept(&self) -> bool {
        matches!(
            self,
            Self::PoweredOff | Self::Reset | Self::Panicked | Self::UserQuit
        )
    }

    /// Whether another process asked QEMU to end.
    pub fn is_of_signal(&self) -> bool {
        matches!(
            self,
            Self::QemuDied {
                by_signal: true,
                ..
            }
        )
    }

    pub fn as_str(&self) -> &'static str {
        match self {
            Self::PoweredOff => "powered-off",
            Self::Reset => "reset",
            Self::Panicked => "panicked",
            Self::UserQuit => "left",
            Self::BootFailed(_) => "gave-up",
            Self::WriteFailed { .. } => "write-failed",
            Self::ReadFailed { .. } => "read-failed",
            Self::QemuDied { .. } => "qemu-died",
            Self::TimedOut { .. } => "timed-out",
            Self::Signalled(_) => "signalled",
        }
    }
}

/// How the guest ended, if `event` says so.
pub fn of_event(event: &Event) -> Option<GuestExit> {
    Some(GuestExit::Known(match event {
        Event::SHUTDOWN { data, .. } => match data.reason {
            ShutdownCause::guest_shutdown => End::PoweredOff,
            ShutdownCause::guest_reset => End::Reset,
            ShutdownCause::guest_panic => End::Panicked,
            ShutdownCause::host_ui => End::UserQuit,
            _ => return Some(GuestExit::Ended),
        },
        Event::GUEST_PANICKED { .. } => End::Panicked,
        Event::BLOCK_IO_ERROR { data, .. }
            if matches!(data.action, qapi::qmp::BlockErrorAction::stop) =>
        {
            // `device` is empty for a node made by -blockdev.
            let node = data.node_name.as_ref().unwrap_or(&data.device);
            if matches!(data.operation, qapi::qmp::IoOperationType::read) {
                return Some(GuestExit::Known(End::ReadFailed {
                    node: node.clone(),
                    reason: data.reason.clone(),
                }));
            }
            End::WriteFailed {
                node: node.clone(),
                no_space: data.nospace.unwrap_or(false),
                reason: data.reason.clone(),
            }
        }
        _ => return None,
    }))
}

/// Whether the guest was reset, and starts again.
pub fn is_reset(event: &Event) -> bool {
    matches!(event, Event::RESET { data, .. } if data.guest)
}

/// Whether the machine has to be told of the event.
pub fn is_wanted(event: &Event) -> bool {
    is_reset(event) || of_event(event).is_some() || matches!(event, Event::MIGRATION { .. })
}

/// The end of a machine whose QEMU exited with `status` after `seen`.
pub fn end_of(status: ExitStatus, seen: Option<GuestExit>, output: String) -> End {
    let by_signal = is_by_signal(status, seen.as_ref());
    let how = match seen {
        Some(GuestExit::Known(end)) => return end,
        Some(GuestExit::QmpLost(why)) => why,
        Some(GuestExit::Ended) if status.success() => {
            "ended by a signal from another process".into()
        }
        Some(GuestExit::Ended) | None => describe(status),
    };
    End::QemuDied {
        how,
        output,
        by_signal,
    }
}

/// How long after QEMU's end by a signal this process's own may come: whoever ends a whole job, as batch
/// schedulers do, sends one to each of its processes.
pub const SIGNAL_FOLLOWS: Duration = Duration::from_millis(500);

/// How long before that end it may have come: QEMU may take its time.
pub const SIGNAL_PRECEDES: Duration = EXIT_TIMEOUT;

/// Whether another process has ended QEMU: by a signal that asks for the end, or by SIGKILL.
pub fn is_from_outside(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::SIGKILL as i32) || is_by_signal(status, None)
}

/// Whether another process has ended QEMU by a signal that asks for the end, which QEMU says or died of.
pub fn is_by_signal(status: ExitStatus, seen: Option<&GuestExit>) -> bool {
    const ASKING: [Signal; 4] = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ];
    let is_asking = |signal| ASKING.iter().any(|asking| *asking as i32 == signal);
    match seen {
        Some(GuestExit::Known(_)) => false,
        Some(GuestExit::Ended) => true,
        Some(GuestExit::QmpLost(_)) | None => {
            status.success() || status.signal().is_some_and(is_asking)
        }
    }
}

/// `killed by SIGSEGV`, `exit status 1`.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(name) => format!("killed by {name}"),
            Err(_) => format!("killed by signal {signal}"),
        },
        (None, None) => format!("{status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn the_verdict_is_success_only_where_the_guest_powered_off_or_the_user_left() {
        let end = |status, seen| end_of(status, seen, String::new()).status().code();
        let known = |end| Some(GuestExit::Known(end));
        assert_eq!(end(exited(0), known(End::PoweredOff)), 0);
        assert_eq!(end(exited(0), known(End::UserQuit)), 0);
        assert_eq!(end(exited(0), Some(GuestExit::Ended)), 123);
        assert_eq!(end(exited(0), None), 123);
        assert_eq!(end(exited(0), known(End::Reset)), 122);
        assert_eq!(end(ExitStatus::from_raw(9), known(End::Panicked)), 122);
        assert_eq!(end(ExitStatus::from_raw(9), None), 123);
        assert_eq!(end(exited(1), None), 123);
        let lost = Some(GuestExit::QmpLost("x".into()));
        assert_eq!(end(ExitStatus::from_raw(11), lost), 123);
    }

    #[test]
    fn an_end_by_a_signal_that_asks_for_it_is_no_crash_kill_or_end_of_the_guest() {
        let raw = ExitStatus::from_raw;
        assert!(is_by_signal(exited(0), Some(&GuestExit::Ended)));
        assert!(is_by_signal(raw(15), None));
        assert!(is_by_signal(raw(15), Some(&GuestExit::QmpLost("x".into()))));
        assert!(!is_by_signal(
            exited(0),
            Some(&GuestExit::Known(End::PoweredOff))
        ));
        for other in [raw(9), raw(11), exited(1)] {
            assert!(!is_by_signal(other, None), "{other}");
        }
    }

    #[test]
    fn a_signal_is_named() {
        assert_eq!(describe(ExitStatus::from_raw(11)), "killed by SIGSEGV");
        assert_eq!(describe(exited(3)), "exit status 3");
    }
}
