//! `bivouac run`: boots a disk image, hands it the terminal, and leaves nothing behind.
//!
//! [`options`] is what was typed, [`assemble`] finds out what that means on this host,
//! [`conduct`] is the run, [`report`] is what is said of it, [`written`] are its files.
//!
//! Where it is for a command ([`guest`]), [`course`] is the run in place of that: [`seeding`]
//! prepares the overlay, and [`copies`] are its files.

pub mod assemble;
pub mod conduct;
pub mod copies;
pub mod course;
pub mod guest;
pub mod hardware;
pub mod options;
pub mod qga;
pub mod ready;
pub mod report;
pub mod saved;
pub mod seeding;
pub mod warm;
pub mod written;

use std::time::Instant;

use anyhow::Context;

use super::exec::Streams;
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
    /// The command in the guest ended, and left this status.
    Commanded {
        /// The command's own.
        status: Status,
    },
    /// The machine ran.
    Ran {
        /// What that means.
        status: Status,
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
    /// The same as a reason why something else was not done.
    fn into_failure(self) -> Failure {
        let status = self.status();
        let (message, mend) = match self {
            Self::Ran { message, mend, .. } => (message, mend),
            Self::Planned(_) | Self::Commanded { .. } => (None, None),
        };
        let error = anyhow::anyhow!(message.unwrap_or_else(|| "the machine ended".to_owned()));
        Failure {
            error,
            mend,
            status,
        }
    }

    /// The exit status.
    pub fn status(&self) -> Status {
        match self {
            Self::Planned(_) => Status::Success,
            Self::Ran { status, .. } | Self::Commanded { status } => *status,
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
    let commanded = args.guest.is_wanted()?;
    let (mut terminal, mut streams) = (None, None);
    if commanded && !args.conduct.dry_run {
        streams = Some(Streams::open(args.guest.run.tty)?);
    } else if !args.conduct.dry_run {
        terminal = Terminal::open().context("setting up the terminal")?;
    }
    let outcome =
        assemble::assemble(args, &mut report.facts).and_then(|(mut assembled, channels)| {
            if args.conduct.dry_run {
                return Ok(Finished::Planned(assembled.command_line()));
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("starting the event loop")?;
            let local = tokio::task::LocalSet::new();
            let facts = &mut report.facts;
            let conducted = local.block_on(&runtime, async {
                match streams {
                    Some(streams) => {
                        let assembled = &mut assembled;
                        course::course(assembled, channels, args, streams, voice, facts).await
                    }
                    None => {
                        conduct::conduct(&mut assembled, channels, args, terminal, voice, facts)
                            .await
                    }
                }
            });
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
