//! `--report` of the commands that inspect images: how the command ended, and for each inspection
//! its image, its machine and when each step was over.

use std::cell::RefCell;

use serde::Serialize;

use crate::exit::Status;
use crate::launch::Failure;
use crate::launch::facts::ImageFacts;
use crate::machine::phases::Phases;

/// How many inspections are recorded at most: `tail --follow` never ends.
const LIMIT: usize = 1000;

/// Collects what is learnt of a command's inspections.
#[derive(Debug, Default)]
pub(crate) struct ReportCollector {
    /// Nothing but the start of the command.
    started: Phases,
    pub images: RefCell<Vec<ImageFacts>>,
}

impl ReportCollector {
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
pub(super) struct Document<'a> {
    bivouac: &'static str,
    command: &'static str,
    verdict: Verdict,
    looks: &'a [ImageFacts],
}

#[derive(Serialize)]
struct Verdict {
    status: u8,
    end: &'static str,
    message: Option<String>,
}

impl<'a> Document<'a> {
    pub fn unfinished(command: &'static str) -> Self {
        Self::new(command, Status::Failed, "unfinished", None, &[])
    }

    pub fn finished(
        command: &'static str,
        outcome: &Result<Status, Failure>,
        looks: &'a [ImageFacts],
    ) -> Self {
        match outcome {
            Ok(status) => Self::new(command, *status, "done", None, looks),
            Err(failure) => {
                let message = format!("{:#}", failure.error);
                Self::new(command, failure.status, "failed", Some(message), looks)
            }
        }
    }

    fn new(
        command: &'static str,
        status: Status,
        end: &'static str,
        message: Option<String>,
        looks: &'a [ImageFacts],
    ) -> Self {
        let status = status.code();
        Self {
            bivouac: env!("CARGO_PKG_VERSION"),
            command,
            verdict: Verdict {
                status,
                end,
                message,
            },
            looks,
        }
    }
}
