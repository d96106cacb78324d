//! What is said of a run: the message for people, and the verdict as JSON for programs.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use super::Finished;
use super::assemble::Assembled;
use super::options::Args;
use crate::commands::report::{self, AcceleratorFacts, LayerFacts, OverlayFacts, Paper};
use crate::commands::{Failure, verdict};
use crate::exit::Status;
use crate::image::chain::Chain;
use crate::machine::end::End;
use crate::machine::phases::Phases;

/// What is learnt in the course of a run.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// The accelerator: asked for, found, used.
    pub accelerator: AcceleratorFacts,
    /// QEMU's program.
    pub qemu: Option<PathBuf>,
    /// QEMU's version, from its greeting.
    pub qemu_version: Option<String>,
    /// With `--warm`: `restored` from the store, or `built` by this run; null otherwise.
    pub template: Option<&'static str>,
    /// When each phase was over.
    pub phases: Phases,
    /// The status of the command in the guest, once it has ended.
    pub command: Option<u8>,
    /// One entry per overlay.
    pub overlays: Vec<OverlayFacts>,
    /// Every layer of every image, top first.
    pub layers: Vec<LayerFacts>,
}

impl Facts {
    /// Takes down the layers of `chains` as they are now.
    pub fn layers_before(&mut self, chains: &[Chain]) {
        self.layers = LayerFacts::before(chains);
    }

    /// Compares the layers with what they were, and measures the overlays.
    pub fn after(&mut self, assembled: &Assembled) {
        LayerFacts::after(&mut self.layers, assembled.drives.chains());
        for path in self.layers.iter().filter_map(LayerFacts::changed) {
            tracing::warn!(
                "{} was changed by another process during the run",
                path.display()
            );
        }
        self.overlays = report::overlays(&assembled.drives);
    }
}

/// The report of a run, and the file that it goes to.
#[derive(Debug)]
pub struct Report {
    paper: Paper,
    image: Option<PathBuf>,
    /// What is learnt on the way.
    pub facts: Facts,
}

#[derive(Serialize)]
struct Document<'a> {
    bivouac: &'static str,
    image: Option<&'a PathBuf>,
    verdict: Verdict<'a>,
    #[serde(flatten)]
    facts: &'a Facts,
}

#[derive(Serialize)]
struct Verdict<'a> {
    status: u8,
    end: &'static str,
    message: Option<String>,
    /// The guest's last lines on the serial console, without control characters.
    console_tail: &'a [String],
}

impl Report {
    /// Opens the report's file, so that a path that cannot be written fails at once. Until
    /// the run has ended it says that it has not.
    pub fn open(args: &Args, started: Instant) -> Result<Self, Failure> {
        let mut report = Self {
            paper: Paper::open(args.conduct.report.as_deref())?,
            image: args.image.clone(),
            facts: Facts {
                accelerator: AcceleratorFacts::default(),
                qemu: None,
                qemu_version: None,
                template: None,
                phases: Phases::since(started),
                command: None,
                overlays: Vec::new(),
                layers: Vec::new(),
            },
        };
        if report.paper.is_replaceable() {
            report.write(Verdict {
                status: Status::Failed.code(),
                end: "unfinished",
                message: None,
                console_tail: &[],
            })?;
        }
        Ok(report)
    }

    /// Writes the verdict.
    pub fn close(&mut self, outcome: &Result<Finished, Failure>) -> Result<(), Failure> {
        self.write(match outcome {
            Ok(finished @ Finished::Planned(_)) => Verdict {
                status: finished.status().code(),
                end: "planned",
                message: None,
                console_tail: &[],
            },
            Ok(
                finished @ Finished::Ran {
                    end, message, tail, ..
                },
            ) => Verdict {
                status: finished.status().code(),
                end: end.as_str(),
                message: message.clone(),
                console_tail: tail,
            },
            Ok(finished @ Finished::Commanded { .. }) => Verdict {
                status: finished.status().code(),
                end: "command",
                message: None,
                console_tail: &[],
            },
            Err(failure) => Verdict {
                status: failure.status.code(),
                // One that was not found in the guest has ended, too.
                end: match self.facts.command {
                    Some(_) => "command",
                    None => "failed",
                },
                message: Some(format!("{:#}", failure.error)),
                console_tail: &[],
            },
        })
    }

    fn write(&mut self, verdict: Verdict<'_>) -> Result<(), Failure> {
        self.paper.write(&Document {
            bivouac: env!("CARGO_PKG_VERSION"),
            image: self.image.as_ref(),
            verdict,
            facts: &self.facts,
        })
    }
}

/// What there is to say about `end`: nothing where all went well.
pub fn finished(end: End, tail: Vec<String>, assembled: &Assembled) -> Finished {
    let (message, mend) = verdict::said(&end, &tail, &assembled.drives, assembled.max_write);
    Finished::Ran {
        status: end.status(),
        end,
        message,
        mend,
        tail,
    }
}
