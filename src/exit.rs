//! Every exit status of bivouac, once. Nothing here ends the process: `main` returns it.

use std::process::ExitCode;

/// How a command of bivouac ended, as its caller sees it.
///
/// The numbers follow `timeout(1)`, `env(1)` and `docker run`: what belongs to bivouac lies
/// between 122 and 127, so that a guest command's own small statuses pass through unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 0: the guest ended by itself and said so.
    Success,
    /// The guest command's own status, passed through.
    Guest(u8),
    /// 1: the command worked and its answer is "no" (`doctor` where `run` could not work).
    Negative,
    /// 122: the guest crashed: a panic, an unexpected reset or power-off, a boot that it gave up.
    GuestCrashed,
    /// 123: QEMU died.
    QemuDied,
    /// 124: a time-out of ours ran out.
    TimedOut,
    /// 125: bivouac failed: bad arguments, bad image, no QEMU, no space.
    Failed,
    /// 126: the guest's command was found and could not be invoked.
    NotInvocable,
    /// 127: the guest's command was not found.
    NotFound,
    /// 128+N: ended by signal N.
    Signalled(i32),
}

impl Status {
    /// The number that the process exits with.
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
