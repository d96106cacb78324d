//! Each format of the same results: passed, flaky, failed, timed out, crashed, and not run at all.

use std::time::Duration;

use proptest::prelude::*;

use super::{Summary, human, json, junit, tap};
use crate::commands::test::result::{CaseResult, Counts, Verdict};
use crate::machine::phases::Phases;

fn result(case: &str, verdict: Verdict, tries: u32, output: &str) -> CaseResult {
    CaseResult {
        case: case.into(),
        verdict,
        tries,
        elapsed: Duration::from_millis(1250),
        output: output.as_bytes().to_vec(),
        phases: Phases::default(),
    }
}

fn results() -> Vec<CaseResult> {
    let crash =
        "the guest's kernel panicked: Kernel panic\nlast lines of its console:\n  [1] <oops>";
    vec![
        result("plain", Verdict::Passed, 1, "not shown\n"),
        result("some times", Verdict::Passed, 2, ""),
        result(
            "a#b\\c",
            Verdict::Failed(3),
            1,
            "first & <last>\n  indented\x1b[31m\n",
        ),
        result("missing", Verdict::Failed(127), 1, ""),
        result("killed", Verdict::Failed(137), 1, "no line feed"),
        result(
            "slow\n",
            Verdict::TimedOut(Duration::from_secs(5)),
            3,
            "...\n",
        ),
        result("\"panics\"", Verdict::Crashed(crash.to_owned()), 1, ""),
        result("no disk", Verdict::Error("no space".to_owned()), 1, ""),
    ]
}

fn summary(not_run: usize) -> Summary {
    let mut counts = Counts::default();
    results().iter().for_each(|result| counts.add(result));
    Summary {
        counts,
        not_run,
        elapsed: Duration::from_secs(12),
    }
}

#[test]
fn for_people() {
    let mut text: String = results().iter().map(human::case).collect();
    for result in results().iter().filter(|result| !result.passed()) {
        text.push_str(&String::from_utf8(human::failure(result, true)).unwrap());
    }
    text.push_str(&human::end(&summary(0)));
    text.push_str(&human::end(&summary(2)));
    let running = ["a".to_owned(), "b".repeat(50)];
    let counts = summary(0).counts;
    text.push_str(&human::live(
        &counts,
        20,
        &running,
        Some(Duration::from_secs(61)),
    ));
    insta::assert_snapshot!(text);
}

#[test]
fn as_tap() {
    let mut text = tap::begin(10);
    let lines = (1..).zip(results());
    text.extend(lines.map(|(number, result)| tap::case(number, &result)));
    text.push_str(&tap::end(&summary(2)));
    insta::assert_snapshot!(text);
}

#[test]
fn as_json() {
    let mut text = json::begin(10, 2);
    text.push_str(&json::started("plain"));
    text.extend(results().iter().map(json::case));
    text.push_str(&json::end(&summary(2)));
    insta::assert_snapshot!(text);
}

#[test]
fn as_junit() {
    insta::assert_snapshot!(junit::document("box.raw", &summary(2), &results()));
}

proptest! {
    #[test]
    fn whatever_a_guest_prints_stays_in_its_place(name in "\\PC{0,20}", output in any::<Vec<u8>>()) {
        let mut one = result(&name, Verdict::Failed(1), 1, "");
        one.output = output;
        let json = json::case(&one);
        prop_assert_eq!(json.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(value["case"].as_str(), Some(&*name));
        let tap = tap::case(1, &one);
        let begins = |line: &&str| line.starts_with("ok") || line.starts_with("not ok");
        prop_assert_eq!(tap.lines().filter(begins).count(), 1);
        prop_assert!(tap.lines().skip(1).all(|line| line.starts_with("  ")));
        let xml = junit::document("suite", &summary(0), &[one]);
        prop_assert_eq!(xml.matches("<testcase ").count(), 1);
        prop_assert_eq!(xml.matches('<').count(), xml.matches('>').count());
        // Of the C0 controls XML 1.0 has only these, and a carriage return.
        let is_foreign = |c: char| c < ' ' && !"\t\n".contains(c);
        prop_assert!(!xml.chars().any(is_foreign));
    }
}
