//! `run --report`: how the run ended, and what was learnt of the machine, as JSON.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::commands::report_file::{ReportFile, with_report};
use crate::exit::Status;
use crate::launch::facts::Facts;
use crate::launch::{Failure, Outcome};

#[derive(Debug)]
pub(super) struct RunReport {
    file: ReportFile,
    image: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    bivouac: &'static str,
    image: Option<&'a PathBuf>,
    verdict: Verdict<'a>,
    #[serde(flatten)]
    facts: &'a Facts,
}

impl<'a> Document<'a> {
    fn new(image: Option<&'a PathBuf>, facts: &'a Facts, verdict: Verdict<'a>) -> Self {
        Self {
            bivouac: env!("CARGO_PKG_VERSION"),
            image,
            verdict,
            facts,
        }
    }
}

#[derive(Serialize)]
struct Verdict<'a> {
    status: u8,
    end: &'static str,
    message: Option<String>,
    /// The guest's last lines on the serial console, without control characters.
    console_tail: &'a [String],
}

impl<'a> Verdict<'a> {
    fn new(status: Status, end: &'static str) -> Self {
        Self {
            status: status.code(),
            end,
            message: None,
            console_tail: &[],
        }
    }

    fn of(outcome: &'a Result<Outcome, Failure>, facts: &Facts) -> Self {
        match outcome {
            Ok(outcome @ Outcome::DryRun(_)) => Self::new(outcome.status(), "planned"),
            Ok(outcome @ Outcome::CommandExited { .. }) => Self::new(outcome.status(), "command"),
            Ok(Outcome::VmEnded {
                status,
                end,
                message,
                tail,
                ..
            }) => Self {
                message: message.clone(),
                console_tail: tail,
                ..Self::new(*status, end.as_str())
            },
            Err(failure) => {
                // One that was not found in the guest has exited, too.
                let has_exited = facts.command.is_some();
                let end = if has_exited { "command" } else { "failed" };
                Self {
                    message: Some(format!("{:#}", failure.error)),
                    ..Self::new(failure.status, end)
                }
            }
        }
    }
}

impl RunReport {
    pub fn open(
        path: Option<&Path>,
        image: Option<&PathBuf>,
        facts: &Facts,
    ) -> Result<Self, Failure> {
        let unfinished = Verdict::new(Status::Failed, "unfinished");
        Ok(Self {
            file: ReportFile::open(path, &Document::new(image, facts, unfinished))?,
            image: image.cloned(),
        })
    }

    pub fn finish(
        mut self,
        outcome: Result<Outcome, Failure>,
        facts: &Facts,
    ) -> Result<Outcome, Failure> {
        let verdict = Verdict::of(&outcome, facts);
        let document = Document::new(self.image.as_ref(), facts, verdict);
        let written = self.file.write(&document);
        with_report(outcome, written, |outcome| {
            outcome.status() == Status::Success
        })
    }
}
