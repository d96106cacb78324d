//! `bivouac run`: boots a disk image, hands it the terminal, and leaves nothing behind.
//!
//! [`options`] is what was typed, [`assemble`] finds out what that means on this host,
//! [`conduct`] is the run, [`report`] is what is said of it, [`written`] are its files.

pub mod assemble;
pub mod conduct;
pub mod hardware;
pub mod options;
pub mod report;
pub mod written;

use std::time::Instant;

use anyhow::Context;

use super::{Failure, Voice};
use crate::exit::Status;
use crate::machine::end::End;
use crate::machine::terminal::Terminal;
use crate::sys;
pub use options::Args;
use report::Report;

/// What came of a run.
#[derive(Debug)]
pub enum Finished {
    /// `--dry-run`: the command line, ready for a shell.
    Planned(String),
    /// The machine ran.
    Ran {
        /// Its end.
        end: End,
        /// What there is to say about it, where it was no success.
        message: Option<String>,
        /// What would help.
        mend: Option<String>,
        /// The console's last lines.
        tail: Vec<String>,
    },
}

impl Finished {
    /// The exit status.
    pub fn status(&self) -> Status {
        match self {
            Self::Planned(_) => Status::Success,
            Self::Ran { end, .. } => end.status(),
        }
    }
}

/// Runs the machine to its end. Must be called on the main thread, before any other is
/// started.
pub fn run(args: &Args, voice: &dyn Voice) -> Result<Finished, Failure> {
    let started = Instant::now();
    let mut report = Report::open(args, started)?;
    sys::keep_children_for_waiting().context("setting SIGCHLD back")?;
    // First, because its guard is forked while this process is small and has one thread.
    let terminal = if args.conduct.dry_run {
        None
    } else {
        Terminal::open().context("setting up the terminal")?
    };
    let outcome = assemble::assemble(args, &mut report.facts).and_then(|(assembled, channels)| {
        if args.conduct.dry_run {
            return Ok(Finished::Planned(assembled.command_line()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the event loop")?;
        let local = tokio::task::LocalSet::new();
        let conducted = local.block_on(
            &runtime,
            conduct::conduct(
                &assembled,
                channels,
                args,
                terminal,
                voice,
                &mut report.facts,
            ),
        );
        // A thread may still be waiting for standard input.
        runtime.shutdown_background();
        // Whatever came of it: the images are as they were, or the report says so.
        report.facts.after(&assembled);
        conducted
    });
    match (report.close(&outcome), outcome) {
        (Ok(()), outcome) => outcome,
        (Err(unwritten), Ok(finished)) if finished.status() == Status::Success => Err(unwritten),
        // What went wrong in the run weighs more, but both are said.
        (Err(unwritten), outcome) => {
            tracing::warn!("{:#}", unwritten.error);
            outcome
        }
    }
}
