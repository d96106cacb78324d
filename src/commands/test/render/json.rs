//! Events, each an object of JSON on a line.

use serde::Serialize;

use super::Summary;
use crate::commands::test::result::{CaseResult, Counts};
use crate::machine::phases::Phases;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event<'a> {
    Begin {
        bivouac: &'static str,
        cases: usize,
        jobs: usize,
    },
    CaseStarted {
        case: &'a str,
    },
    CaseEnded {
        case: &'a str,
        verdict: &'static str,
        /// The command's status, if it has one.
        status: Option<u8>,
        /// Why it did not pass.
        message: Option<&'a str>,
        tries: u32,
        seconds: f64,
        /// Not of a case that passed.
        output: Option<&'a str>,
        /// When each step of the last try was over, in milliseconds since its start.
        phases: &'a Phases,
    },
    End {
        #[serde(flatten)]
        counts: Counts,
        not_run: usize,
        seconds: f64,
    },
}

pub fn begin(cases: usize, jobs: usize) -> String {
    line(&Event::Begin {
        bivouac: env!("CARGO_PKG_VERSION"),
        cases,
        jobs,
    })
}

pub fn started(case: &str) -> String {
    line(&Event::CaseStarted { case })
}

pub fn case(result: &CaseResult) -> String {
    use crate::commands::test::result::Verdict;
    let output = String::from_utf8_lossy(&result.output);
    let message = match &result.verdict {
        Verdict::Crashed(why) | Verdict::Error(why) => why.clone(),
        verdict => verdict.reason(),
    };
    line(&Event::CaseEnded {
        case: &result.name(),
        verdict: result.verdict.as_str(),
        status: match result.verdict {
            Verdict::Passed => Some(0),
            Verdict::Failed(status) => Some(status),
            _ => None,
        },
        message: (!message.is_empty()).then_some(&message),
        tries: result.tries,
        seconds: milliseconds(result.elapsed.as_secs_f64()),
        output: (!result.passed()).then_some(&output),
        phases: &result.phases,
    })
}

pub fn end(summary: &Summary) -> String {
    line(&Event::End {
        counts: summary.counts,
        not_run: summary.not_run,
        seconds: milliseconds(summary.elapsed.as_secs_f64()),
    })
}

fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

fn line(event: &Event<'_>) -> String {
    // Strings and numbers only: that never fails.
    let text = serde_json::to_string(event).unwrap_or_default();
    format!("{text}\n")
}
