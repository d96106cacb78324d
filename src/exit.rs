//! Every exit status of bivouac. Nothing here ends the process: `main` returns the status.

use std::process::ExitCode;

/// How a command of bivouac ended.
///
/// The numbers follow `timeout(1)`, `env(1)` and `docker run`: bivouac's own statuses are 122 to
/// 127, so that the small statuses of a guest command pass through unambiguously.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 0: the guest shut down cleanly, or the command worked.
    Success,
    /// The guest command's own status.
    Guest(u8),
    /// 1: the command worked and its answer is "no" (`doctor` if `run` could not work).
    Negative,
    /// 122: the guest crashed: a panic, an unexpected reset or power-off, a failed boot.
    GuestCrashed,
    /// 123: QEMU died.
    QemuDied,
    /// 124: a timeout of bivouac expired.
    TimedOut,
    /// 125: bivouac failed: bad arguments, bad image, no QEMU, no space.
    Failed,
    /// 126: the guest's command was found and could not be executed.
    NotInvocable,
    /// 127: the guest's command was not found.
    NotFound,
    /// 128+N: killed by signal N.
    Signalled(i32),
}

impl Status {
    /// The exit status of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Guest(code) => code,
            Self::Negative => 1,
            Self::GuestCrashed => 122,
            Self::QemuDied => 123,
            Self::TimedOut => 124,
            Self::Failed => 125,
            Self::NotInvocable => 126,
            Self::NotFound => 127,
            Self::Signalled(signal) => 128_u8.saturating_add(signal.clamp(0, 127) as u8),
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        ExitCode::from(status.code())
    }
}
