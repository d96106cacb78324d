//! `--report` of the commands that inspect images: how the command ended, and for each inspection
//! its image, its machine and when each step was over.

use std::cell::RefCell;

use serde::Serialize;

use super::Inspector;
use crate::commands::args::image::InspectionArgs;
use crate::commands::report_file::{ReportFile, with_report};
use crate::commands::{Failure, Progress};
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
        self.started.anew()
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

/// Does the work of a command, and writes its report if `args` name a file for it.
pub(crate) fn reported(
    command: &'static str,
    args: &InspectionArgs,
    progress: &dyn Progress,
    work: impl FnOnce(Inspector<'_>) -> Result<Status, Failure>,
) -> Result<Status, Failure> {
    let unfinished = Verdict::new(Status::Failed, "unfinished", None);
    let unfinished = Document::new(command, unfinished, &[]);
    let mut file = ReportFile::open(args.report.as_deref(), &unfinished)?;
    let collector = ReportCollector::default();
    let outcome = work(Inspector::new(args, progress, &collector));
    let verdict = match &outcome {
        Ok(status) => Verdict::new(*status, "done", None),
        Err(failure) => {
            let message = format!("{:#}", failure.error);
            Verdict::new(failure.status, "failed", Some(message))
        }
    };
    let images = collector.images.borrow();
    let written = file.write(&Document::new(command, verdict, &images));
    with_report(outcome, written, |status| *status == Status::Success)
}
