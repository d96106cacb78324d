//! Prints the result of a command on standard output, and messages on standard error after `bivouac: `.
//! Long results go through `commands/stdout_sink.rs`, a guest's output through `commands/stdio` and the
//! console.

#![allow(clippy::disallowed_methods)]

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use clap::error::ErrorKind;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing::span;

use super::status_line;
use crate::commands::test::Printer;
use crate::exit::Status;
use crate::launch::{Failure, Outcome, Progress};
use crate::text::escape::message_lines;

#[derive(Debug)]
pub struct Output {
    /// Standard error is a terminal, and --quiet was not given.
    status_wanted: bool,
}

impl Output {
    /// Listens to the log from here on.
    pub fn new(verbose: u8, quiet: bool) -> Self {
        let level = match (quiet, verbose) {
            (true, _) => Level::ERROR,
            (false, 0) => Level::WARN,
            (false, 1) => Level::DEBUG,
            (false, _) => Level::TRACE,
        };
        // Fails only if a test has installed another subscriber.
        let _ = tracing::subscriber::set_global_default(Log { level });
        Self {
            status_wanted: !quiet && io::stderr().is_terminal() && status_line::is_possible(),
        }
    }

    /// A command's result, for people or as JSON.
    pub fn result(
        &self,
        result: &(impl Display + serde::Serialize),
        json: bool,
    ) -> Result<(), Failure> {
        let mut text = if json {
            serde_json::to_string_pretty(result).context("writing JSON")?
        } else {
            result.to_string()
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.bytes(text.as_bytes())
    }

    /// Anything for standard output. A closed pipe is not our error.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(anyhow::Error::from(error)
                    .context("writing standard output")
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// What came of a run.
    pub fn outcome(&self, outcome: &Outcome) -> Result<(), Failure> {
        match outcome {
            Outcome::DryRun(command) => self.bytes(format!("{command}\n").as_bytes())?,
            // The command has printed what there was to print.
            Outcome::CommandExited { .. } => self.clear_status(),
            Outcome::VmEnded { message, hint, .. } => {
                if let Some(message) = message {
                    line("error", message);
                }
                if let Some(hint) = hint {
                    print_lines(&format!("  hint: {hint}"));
                }
            }
        }
        Ok(())
    }

    /// Why a command failed, and the suggested fix.
    pub fn failure(&self, failure: &Failure) {
        // The sender of the signal knows.
        if let Status::Signalled(_) = failure.status {
            return status_line::remove();
        }
        line("error", &format!("{:#}", failure.error));
        if let Some(hint) = &failure.hint {
            print_lines(&format!("  hint: {hint}"));
        }
    }
}

impl Progress for Output {
    fn status(&self, text: &str) {
        if self.status_wanted {
            status_line::show(text);
        }
    }

    fn status_remover(&self) -> fn() {
        status_line::remove
    }

    fn message(&self, text: &str) {
        print_lines(text);
    }
}

impl Printer for Output {
    fn print(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.clear_status();
        self.bytes(bytes)
    }
}

/// A mistake in the arguments, or the help that was asked for.
pub fn usage(error: &clap::Error) -> Status {
    // The complete help is not an error message.
    if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = io::stderr().write_all(b"bivouac: ");
    }
    // Nothing can be done if even this cannot be printed.
    let _ = error.print();
    if error.use_stderr() {
        Status::Failed
    } else {
        Status::Success
    }
}

fn line(kind: &str, text: &str) {
    print_lines(&format!("bivouac: {kind}: {text}"));
}

/// Whole lines to standard error. A carriage return goes with each on a terminal, which may
/// be raw while the guest has it. Control characters are escaped, and no line but the first begins as
/// ours do: a file's name, an image's header or QEMU may have put that there.
fn print_lines(text: &str) {
    status_line::hide();
    let mut stderr = io::stderr().lock();
    let end = if stderr.is_terminal() { "\r\n" } else { "\n" };
    let text: String = message_lines(text).map(|line| line + end).collect();
    let _ = stderr.write_all(text.as_bytes());
}

/// The log: one line an event, no times, no spans.
#[derive(Debug)]
struct Log {
    level: Level,
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= self.level
            && (self.level == Level::TRACE || metadata.target().starts_with("bivouac"))
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut message = Message::default();
        event.record(&mut message);
        let kind = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "note",
            Level::DEBUG | Level::TRACE => "debug",
        };
        line(kind, &message.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
