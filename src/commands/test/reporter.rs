//! Says what is going on and what came of it, in the form that was asked for, and counts.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use super::render::{Summary, human, json, tap};
use super::result::{CaseResult, Counts};
use crate::launch::{Failure, Progress};

/// Writes to standard output; a status line of [`Progress`] is out of its way.
pub trait Printer: Progress {
    /// Writes bytes as they are.
    fn print(&self, bytes: &[u8]) -> Result<(), Failure>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Human,
    Tap,
    Json,
}

pub(super) struct Reporter<'a> {
    pub format: Format,
    pub printer: &'a dyn Printer,
    /// Whether standard output is a terminal.
    pub on_terminal: bool,
    has_begun: bool,
    total: usize,
    jobs: usize,
    started: Instant,
    counts: Counts,
    running: Vec<String>,
    /// Those that failed, or all of them if they are to be kept.
    pub results: Vec<CaseResult>,
    keeps_all: bool,
}

impl<'a> Reporter<'a> {
    pub fn new(printer: &'a dyn Printer, format: Format, keeps_all: bool) -> Self {
        Self {
            format,
            printer,
            on_terminal: crate::machine::stdio::output_is_terminal(),
            has_begun: false,
            total: 0,
            jobs: 1,
            started: Instant::now(),
            counts: Counts::default(),
            running: Vec::new(),
            results: Vec::new(),
            keeps_all,
        }
    }

    pub fn begin(&mut self, total: usize, jobs: usize) -> Result<(), Failure> {
        (self.has_begun, self.started) = (true, Instant::now());
        (self.total, self.jobs) = (total, jobs);
        self.print(match self.format {
            Format::Human => String::new(),
            Format::Tap => tap::begin(total),
            Format::Json => json::begin(total, jobs),
        })
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub fn case_started(&mut self, case: &OsStr) -> Result<(), Failure> {
        let name = case.to_string_lossy().into_owned();
        if self.format == Format::Json {
            self.print(json::started(&name))?;
        }
        self.running.push(name);
        self.show_status();
        Ok(())
    }

    pub fn case_ended(&mut self, mut result: CaseResult) -> Result<(), Failure> {
        self.counts.add(&result);
        let name = result.name();
        if let Some(place) = self.running.iter().position(|running| *running == name) {
            self.running.remove(place);
        }
        self.print(match self.format {
            Format::Human => human::case(&result),
            Format::Tap => tap::case(self.counts.run(), &result),
            Format::Json => json::case(&result),
        })?;
        if result.passed() {
            // No format prints it.
            result.output.clear();
        }
        if self.keeps_all || !result.passed() {
            self.results.push(result);
        }
        self.show_status();
        Ok(())
    }

    pub fn show_status(&self) {
        let live = human::live(&self.counts, self.total, &self.running, self.left());
        self.printer.status(&live);
    }

    /// The time that the rest takes, if it is as fast as what was done.
    fn left(&self) -> Option<Duration> {
        let done = self.counts.run();
        let rest = self.total - done;
        let each = self.started.elapsed().checked_div(done.try_into().ok()?)?;
        (done >= 2 * self.jobs).then(|| each * rest as u32)
    }

    /// The failed cases and the numbers.
    pub fn end(&mut self) -> Result<Summary, Failure> {
        self.printer.clear_status();
        let summary = Summary {
            counts: self.counts,
            not_run: self.total - self.counts.run(),
            elapsed: self.started.elapsed(),
        };
        match self.format {
            Format::Human => {
                for result in self.results.iter().filter(|result| !result.passed()) {
                    let text = human::failure(result, self.on_terminal);
                    self.printer.print(&text)?;
                }
                self.print(human::end(&summary))?;
            }
            Format::Tap => self.print(tap::end(&summary))?,
            Format::Json => self.print(json::end(&summary))?,
        }
        Ok(summary)
    }

    fn print(&self, text: String) -> Result<(), Failure> {
        match text.is_empty() {
            true => Ok(()),
            false => self.printer.print(text.as_bytes()),
        }
    }
}
