//! JUnit's XML, as continuous integration reads it: a suite with a `testcase` for each case.

use super::Summary;
use crate::commands::test::result::{CaseResult, Verdict};

/// `suite` names the image.
pub fn document(suite: &str, summary: &Summary, results: &[CaseResult]) -> String {
    let suite = text(suite);
    let numbers = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\"",
        summary.counts.run() + summary.not_run,
        summary.counts.failed,
        summary.counts.errors,
        summary.not_run,
        summary.elapsed.as_secs_f64(),
    );
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml.push_str(&format!("<testsuites name=\"bivouac\" {numbers}>\n"));
    xml.push_str(&format!("  <testsuite name=\"{suite}\" {numbers}>\n"));
    for result in results {
        xml.push_str(&case(&suite, result));
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn case(suite: &str, result: &CaseResult) -> String {
    let attributes = format!(
        "name=\"{}\" classname=\"{suite}\" time=\"{:.3}\"",
        text(&result.name()),
        result.elapsed.as_secs_f64(),
    );
    if result.passed() {
        return format!("    <testcase {attributes}/>\n");
    }
    let element = match result.verdict {
        Verdict::Error(_) => "error",
        _ => "failure",
    };
    let (kind, reason) = (result.verdict.as_str(), text(&result.verdict.reason()));
    let details = text(result.verdict.details().unwrap_or_default());
    let output = text(&String::from_utf8_lossy(&result.output));
    format!(
        "    <testcase {attributes}>\n      \
         <{element} type=\"{kind}\" message=\"{reason}\">{details}</{element}>\n      \
         <system-out>{output}</system-out>\n    </testcase>\n"
    )
}

/// Text for an attribute or an element. Characters that XML 1.0 cannot hold (2.2 Characters) become
/// U+FFFD.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' => escaped.push(character),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}
