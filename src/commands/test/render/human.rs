//! For people: a line a case, the output of those that failed at the end, and a line of what is
//! going on.

use std::time::Duration;

use super::Summary;
use crate::commands::test::result::{CaseResult, Counts, Verdict};
use crate::text::escape::{Escaper, printable};

/// How long the names of running cases may be together in the live line, in characters.
const RUNNING_MAX: usize = 40;

pub fn case(result: &CaseResult) -> String {
    let word = match result.verdict {
        Verdict::Passed if result.is_flaky() => "FLAKY",
        Verdict::Passed => "PASS",
        Verdict::Error(_) => "ERROR",
        _ => "FAIL",
    };
    let mut notes = vec![result.verdict.reason()];
    notes.retain(|note| !note.is_empty());
    if result.tries > 1 {
        notes.push(format!("try {}", result.tries));
    }
    let notes = match notes.is_empty() {
        true => String::new(),
        false => format!(" ({})", notes.join(", ")),
    };
    let seconds = result.elapsed.as_secs_f64();
    let line = format!("{word:<5} {seconds:>7.2} s  {}{notes}", result.name());
    format!("{}\n", printable(&line))
}

/// What a case that failed has printed, below its name.
pub fn failure(result: &CaseResult, on_terminal: bool) -> Vec<u8> {
    let name = printable(&format!("{} ({})", result.name(), result.verdict.reason()));
    let mut text = format!("\n--- {name}\n").into_bytes();
    if let Some(details) = result.verdict.details() {
        text.extend(printable_lines(details).into_bytes());
    }
    match on_terminal {
        true => {
            let mut escaper = Escaper::default();
            escaper.take(&result.output, &mut text);
            escaper.rest(&mut text);
        }
        false => text.extend_from_slice(&result.output),
    }
    if text.last() != Some(&b'\n') {
        text.push(b'\n');
    }
    text
}

fn printable_lines(text: &str) -> String {
    let lines = text.lines().map(|line| format!("{}\n", printable(line)));
    lines.collect()
}

pub fn end(summary: &Summary) -> String {
    let Counts {
        passed,
        flaky,
        failed,
        errors,
    } = summary.counts;
    let mut parts = vec![match flaky {
        0 => format!("{passed} passed"),
        flaky => format!("{passed} passed ({flaky} flaky)"),
    }];
    let more = [
        (failed, "failed"),
        (errors, "could not be run"),
        (summary.not_run, "not run"),
    ];
    let more = more.iter().filter(|(count, _)| *count > 0);
    parts.extend(more.map(|(count, what)| format!("{count} {what}")));
    let count = summary.counts.run() + summary.not_run;
    let cases = if count == 1 { "case" } else { "cases" };
    let seconds = summary.elapsed.as_secs_f64();
    format!("\n{count} {cases}: {}; {seconds:.1} s\n", parts.join(", "))
}

/// One line of what is going on. `left` is the time that the rest will take.
pub fn live(counts: &Counts, total: usize, running: &[String], left: Option<Duration>) -> String {
    let mut line = format!("{} of {total}: {} passed", counts.run(), counts.passed);
    if counts.failed + counts.errors > 0 {
        line.push_str(&format!(", {} failed", counts.failed + counts.errors));
    }
    let mut names = running.join(", ");
    if let Some((end, _)) = names.char_indices().nth(RUNNING_MAX) {
        names.truncate(end);
        names.push_str("...");
    }
    if !names.is_empty() {
        line.push_str(&format!("; running {names}"));
    }
    if let Some(left) = left {
        line.push_str(&format!("; {} s left", left.as_secs()));
    }
    line
}
