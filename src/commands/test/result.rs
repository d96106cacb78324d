//! What came of a case, and of all of them. Plain data.

use std::ffi::OsString;
use std::time::Duration;

use serde::Serialize;

use crate::exit::Status;
use crate::machine::phases::Phases;

/// How one try of a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// The command's status, which is not 0.
    Failed(u8),
    /// It took longer than `--timeout`.
    TimedOut(Duration),
    /// The machine ended, or its agent did: why.
    Crashed(String),
    /// It could not be run, which is no fault of the guest: why.
    Error(String),
}

impl Verdict {
    /// For JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::TimedOut(_) => "timed-out",
            Self::Crashed(_) => "crashed",
            Self::Error(_) => "error",
        }
    }

    /// Why it did not pass, in one line; empty if it did.
    pub fn reason(&self) -> String {
        match self {
            Self::Passed => String::new(),
            Self::Failed(126) => "status 126: it cannot be executed in the guest".to_owned(),
            Self::Failed(127) => "status 127: not found in the guest".to_owned(),
            Self::Failed(status @ 129..=192) => {
                format!("status {status}: signal {} ended it", status - 128)
            }
            Self::Failed(status) => format!("status {status}"),
            Self::TimedOut(limit) => format!("timed out after {} s", limit.as_secs_f64()),
            Self::Crashed(why) | Self::Error(why) => {
                why.lines().next().unwrap_or_default().to_owned()
            }
        }
    }

    /// Lines of more than its reason: the console of a machine that crashed.
    pub fn details(&self) -> Option<&str> {
        match self {
            Self::Crashed(why) | Self::Error(why) => why.split_once('\n').map(|(_, rest)| rest),
            _ => None,
        }
    }
}

/// A case that was run, with its last try.
#[derive(Clone, Debug)]
pub(super) struct CaseResult {
    pub case: OsString,
    pub verdict: Verdict,
    /// From 1.
    pub tries: u32,
    /// Of the last try, with the start of its machine.
    pub elapsed: Duration,
    /// Of the last try.
    pub output: Vec<u8>,
    /// Of the last try, for reports.
    pub phases: Phases,
}

impl CaseResult {
    pub fn passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }

    /// Whether it passed, but not at once.
    pub fn is_flaky(&self) -> bool {
        self.passed() && self.tries > 1
    }

    pub fn name(&self) -> String {
        self.case.to_string_lossy().into_owned()
    }
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub passed: usize,
    /// Among those that passed.
    pub flaky: usize,
    pub failed: usize,
    pub errors: usize,
}

impl Counts {
    pub fn add(&mut self, result: &CaseResult) {
        match result.verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Error(_) => self.errors += 1,
            _ => self.failed += 1,
        }
        self.flaky += usize::from(result.is_flaky());
    }

    pub fn run(&self) -> usize {
        self.passed + self.failed + self.errors
    }

    /// 125 if anything could not be run, else 1 if a case failed.
    pub fn status(&self) -> Status {
        match self {
            Self { errors: 1.., .. } => Status::Failed,
            Self { failed: 1.., .. } => Status::Negative,
            _ => Status::Success,
        }
    }
}
