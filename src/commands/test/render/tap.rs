//! TAP 14 (the Test Anything Protocol, testanything.org).

use super::{Summary, lines};
use crate::commands::test::result::CaseResult;
use crate::text::escape::printable;

pub fn begin(count: usize) -> String {
    format!("TAP version 14\n1..{count}\n")
}

/// The `number` is from 1, in the order of the ends.
pub fn case(number: usize, result: &CaseResult) -> String {
    let word = if result.passed() { "ok" } else { "not ok" };
    let mut text = format!("{word} {number} - {}\n", description(&result.name()));
    if result.passed() && !result.is_flaky() {
        return text;
    }
    text.push_str("  ---\n");
    text.push_str(&format!("  verdict: {}\n", result.verdict.as_str()));
    let reason = printable(&result.verdict.reason());
    if !reason.is_empty() {
        text.push_str(&format!("  message: '{}'\n", reason.replace('\'', "''")));
    }
    text.push_str(&format!("  tries: {}\n", result.tries));
    let seconds = result.elapsed.as_secs_f64();
    text.push_str(&format!("  seconds: {seconds:.3}\n"));
    let details = result.verdict.details().unwrap_or_default();
    for (key, lines) in [
        ("console", lines(details.as_bytes())),
        ("output", lines(&result.output)),
    ] {
        if !result.passed() && !lines.is_empty() {
            // With its indentation, for lines that begin with blanks.
            text.push_str(&format!("  {key}: |2\n"));
            let lines = lines
                .iter()
                .map(|line| format!("    {}\n", printable(line)));
            text.extend(lines);
        }
    }
    text.push_str("  ...\n");
    text
}

/// The cases without a line were not run.
pub fn end(summary: &Summary) -> String {
    match summary.not_run {
        0 => String::new(),
        count => format!("Bail out! {count} not run\n"),
    }
}

/// `#` would start a directive.
fn description(name: &str) -> String {
    printable(name).replace('\\', "\\\\").replace('#', "\\#")
}
