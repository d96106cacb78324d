//! `--report` of the commands that inspect images: how the command ended, and for each inspection
//! its image, its machine and when each step was over.

use std::cell::RefCell;
use std::path::Path;

use serde::Serialize;

use crate::commands::Failure;
use crate::commands::report_file::{ReportFile, with_report};
use crate::exit::Status;
use crate::launch::facts::ImageFacts;
use crate::machine::phases::Phases;

/// How many inspections are recorded at most: `tail --follow` never ends.
const LIMIT: usize = 1000;

/// Collects what is learnt of a command's inspections.
#[derive(Debug, Default)]
pub(crate) struct ReportCollector {
    /// Nothing but the start of the command.
    started: Phases,
    images: RefCell<Vec<ImageFacts>>,
}

impl ReportCollector {
    /// The phases of one inspection.
    pub fn phases(&self) -> Phases {
        self.started.fresh()
    }

    pub fn add(&self, facts: ImageFacts) {
        let mut images = self.images.borrow_mut();
        if images.len() < LIMIT {
            images.push(facts);
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    bivouac: &'static str,
    command: &'static str,
    verdict: Verdict,
    looks: &'a [ImageFacts],
}

impl<'a> Document<'a> {
    fn new(command: &'static str, verdict: Verdict, looks: &'a [ImageFacts]) -> Self {
        Self {
            bivouac: env!("CARGO_PKG_VERSION"),
            command,
            verdict,
            looks,
        }
    }
}

#[derive(Serialize)]
struct Verdict {
    status: u8,
    end: &'static str,
    message: Option<String>,
}

impl Verdict {
    fn new(status: Status, end: &'static str, message: Option<String>) -> Self {
        Self {
            status: status.code(),
            end,
            message,
        }
    }
}

/// The report of a command.
#[derive(Debug)]
pub(super) struct Report {
    file: ReportFile,
    command: &'static str,
}

impl Report {
    pub fn open(path: Option<&Path>, command: &'static str) -> Result<Self, Failure> {
        let unfinished = Verdict::new(Status::Failed, "unfinished", None);
        let unfinished = Document::new(command, unfinished, &[]);
        Ok(Self {
            file: ReportFile::open(path, &unfinished)?,
            command,
        })
    }

    pub fn finish(
        mut self,
        outcome: Result<Status, Failure>,
        collector: &ReportCollector,
    ) -> Result<Status, Failure> {
        let verdict = match &outcome {
            Ok(status) => Verdict::new(*status, "done", None),
            Err(failure) => {
                let message = format!("{:#}", failure.error);
                Verdict::new(failure.status, "failed", Some(message))
            }
        };
        let images = collector.images.borrow();
        let written = self
            .file
            .write(&Document::new(self.command, verdict, &images));
        with_report(outcome, written, |status| *status == Status::Success)
    }
}
