//! `--report` of the commands that look into images: the verdict, and of each look its image, its
//! machine and when each step was over.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use serde::Serialize;

use super::Options;
use crate::commands::Failure;
use crate::commands::report::{AcceleratorFacts, LayerFacts, OverlayFacts, Paper, overlays};
use crate::exit::Status;
use crate::machine::drives::Drives;
use crate::machine::phases::Phases;

/// How many looks are kept: `tail --follow` looks for ever.
const KEPT: usize = 1000;

/// What is learnt of a command's looks. Clones write to the same list.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Nothing but the start of the command.
    started: Phases,
    looks: Rc<RefCell<Vec<LookFacts>>>,
}

/// One image that was looked into, and the machine that did it.
#[derive(Debug, Serialize)]
pub struct LookFacts {
    /// The image.
    pub image: PathBuf,
    /// The accelerator: asked for, found, used.
    pub accelerator: AcceleratorFacts,
    /// QEMU's program.
    pub qemu: PathBuf,
    /// QEMU's version, from its greeting.
    pub qemu_version: Option<String>,
    /// The directory of the template that the appliance was restored from.
    pub template: Option<PathBuf>,
    /// When each step was over, in milliseconds since the start of the command.
    pub phases: Phases,
    /// One entry per overlay.
    pub overlays: Vec<OverlayFacts>,
    /// Every layer of the image, top first.
    pub layers: Vec<LayerFacts>,
}

impl LookFacts {
    /// Compares the layers with what they were, and measures the overlays.
    pub fn after(&mut self, drives: &Drives) {
        LayerFacts::after(&mut self.layers, drives.chains());
        self.overlays = overlays(drives);
    }
}

impl Journal {
    /// The phases of one look.
    pub fn phases(&self) -> Phases {
        self.started.anew()
    }

    /// A look is over.
    pub fn add(&self, look: LookFacts) {
        let mut looks = self.looks.borrow_mut();
        if looks.len() < KEPT {
            looks.push(look);
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    bivouac: &'static str,
    command: &'static str,
    verdict: Verdict,
    looks: &'a [LookFacts],
}

#[derive(Serialize)]
struct Verdict {
    status: u8,
    end: &'static str,
    message: Option<String>,
}

/// Does the work of a command, and writes its report where `options` name a file for it.
///
/// # Errors
/// The work's own, or the report cannot be written.
pub fn reported(
    command: &'static str,
    options: &Options,
    work: impl FnOnce() -> Result<Status, Failure>,
) -> Result<Status, Failure> {
    let mut paper = Paper::open(options.report.as_deref())?;
    let write = |paper: &mut Paper, verdict| {
        paper.write(&Document {
            bivouac: env!("CARGO_PKG_VERSION"),
            command,
            verdict,
            looks: &options.journal.looks.borrow(),
        })
    };
    if paper.is_replaceable() {
        write(
            &mut paper,
            Verdict {
                status: Status::Failed.code(),
                end: "unfinished",
                message: None,
            },
        )?;
    }
    let outcome = work();
    let verdict = match &outcome {
        Ok(status) => Verdict {
            status: status.code(),
            end: "done",
            message: None,
        },
        Err(failure) => Verdict {
            status: failure.status.code(),
            end: "failed",
            message: Some(format!("{:#}", failure.error)),
        },
    };
    match (write(&mut paper, verdict), outcome) {
        (Ok(()), outcome) => outcome,
        (Err(unwritten), Ok(Status::Success)) => Err(unwritten),
        // What went wrong in the work weighs more, but both are said.
        (Err(unwritten), outcome) => {
            tracing::warn!("{:#}", unwritten.error);
            outcome
        }
    }
}
