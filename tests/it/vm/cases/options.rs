//! What `bivouac test` takes and gives: where cases come from, what is kept of them, and its status.

use std::fs;
use std::path::Path;

use super::{Fixture, ended, events};
use crate::env::bivouac::{Bivouac, Finished};
use crate::env::cases::Cases;
use crate::env::images::qemu_img;

/// In the machine that the first has saved.
#[test]
fn cases_come_from_everywhere_and_results_go_where_they_should() {
    let fixture = Fixture::new();
    let before = fixture.untouched();
    let built = fixture.test(&[], &["true"]).output();
    assert_eq!(built.code(), Some(0), "{built:?}");
    type Check = (&'static str, fn(&Fixture));
    let checks: [Check; 7] = [
        ("from standard input and from a file", cases_are_read),
        ("shards are all cases", shards),
        ("files in and out", copies),
        ("what is kept of those that failed", what_is_kept),
        ("once more", retries),
        ("the first failure is the last", fail_fast),
        ("statuses", statuses),
    ];
    let mut cases = Cases::default();
    for (name, check) in checks {
        cases.case(name, || check(&fixture));
        fixture.is_clean(&[]);
    }
    drop(cases);
    assert_eq!(fixture.untouched(), before);
}

fn names(finished: &Finished) -> Vec<String> {
    let events = events(finished, "case-ended").into_iter();
    let mut names: Vec<_> = events
        .map(|event| event["case"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn cases_are_read(fixture: &Fixture) {
    let words = |options: &[&str]| {
        let words = fixture.machine(&["test"], options);
        words.args(["--json", "--", "test", "-n", "{}"])
    };
    let mut running = words(&[]).start();
    running.type_in("a b\n\nc");
    running.stdin = None;
    let finished = running.wait();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(names(&finished), ["a b", "c"]);
    let file = fixture.path("cases");
    fs::write(&file, "a\nb\0c\0").unwrap();
    let from = format!("--cases-from={}", file.display());
    let finished = words(&["-0", &from]).output();
    assert_eq!(names(&finished), ["a\nb", "c"]);
    // Nothing on standard input.
    let finished = words(&[]).output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    assert!(finished.stderr.contains("there are no cases"));
}

fn shards(fixture: &Fixture) {
    let cases = ["true 1", "true 2", "true 3"];
    let mut all = Vec::new();
    for shard in ["--shard=1/2", "--shard=2/2"] {
        let finished = fixture.test(&["--json", shard], &cases).output();
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        all.extend(names(&finished));
    }
    all.sort();
    assert_eq!(all, cases);
    // More parts than cases.
    let finished = fixture.test(&["--json", "--shard=9/9"], &cases).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(names(&finished), [""; 0]);
}

fn copies(fixture: &Fixture) {
    let (file, out) = (fixture.path("file"), fixture.path("out"));
    fs::write(&file, "text\n").unwrap();
    let copy_in = format!("--copy-in={}:/srv/in", file.display());
    let copy_out = format!("--copy-out=/srv/result:{}", out.display());
    let cases = [
        "mkdir -p /srv; echo 1 | cat - /srv/in > /srv/result",
        "echo a/b > /srv/result; exit 1",
    ];
    let finished = fixture.test(&[&copy_in, &copy_out], &cases).output();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    let mut found: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path().join("result")).unwrap())
        .collect();
    found.sort();
    assert_eq!(found, ["1\ntext\n", "a/b\n"]);
}

fn what_is_kept(fixture: &Fixture) {
    let (kept, junit) = (fixture.path("kept"), fixture.path("junit.xml"));
    let keep = format!("--keep-failed={}", kept.display());
    let junit_option = format!("--junit={}", junit.display());
    let fails = "echo out; echo change > /changed; echo said > /dev/console; exit 3";
    let cases = [fails, "echo fine"];
    let finished = fixture.test(&[&keep, &junit_option], &cases).output();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    assert!(
        finished.stdout.contains("(status 3)\nout\n"),
        "{finished:?}"
    );
    assert!(!finished.stdout.contains("\nfine"), "{finished:?}");
    let directories: Vec<_> = fs::read_dir(&kept).unwrap().collect();
    assert_eq!(directories.len(), 1, "{directories:?}");
    let directory = directories[0].as_ref().unwrap().path();
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(read(&directory.join("output")), "out\n");
    assert!(read(&directory.join("console")).contains("said"));
    let disk = directory.join("disk.qcow2");
    qemu_img(&["check", "-q"], &[&disk]);
    let on_disk = format!("{}:/changed", disk.display());
    let cat = Bivouac::new().args(["cat", "--trust-chain", &on_disk]);
    assert_eq!(cat.output().stdout, "change\n");
    let xml = read(&junit);
    assert_eq!(xml.matches("<testcase ").count(), 2, "{xml}");
    assert_eq!(xml.matches("<failure ").count(), 1, "{xml}");
    // Results may replace results, and nothing else.
    let again = fixture.test(&[&junit_option], &["true"]).output();
    assert_eq!(again.code(), Some(0), "{again:?}");
    fs::write(&junit, "something else").unwrap();
    let refused = fixture.test(&[&junit_option], &["true"]).output();
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert_eq!(read(&junit), "something else");
}

fn retries(fixture: &Fixture) {
    // Each try draws other numbers: one of a hundred does not end well.
    let luck = "test $(head -c 1 /dev/urandom | od -An -tu1) -lt 128";
    let options = ["--json", "--retries=40"];
    let finished = fixture.test(&options, &[luck, "exit 9"]).output();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    assert_eq!(ended(&finished, luck)["verdict"], "passed");
    let event = ended(&finished, "exit 9");
    assert_eq!((&event["tries"], &event["status"]), (&41.into(), &9.into()));
}

fn fail_fast(fixture: &Fixture) {
    let cases = ["exit 1", "true", "true 2", "true 3"];
    let finished = fixture
        .test(&["--tap", "--jobs=1", "--fail-fast"], &cases)
        .output();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    let lines: Vec<_> = finished.stdout.lines().collect();
    assert_eq!(lines[..3], ["TAP version 14", "1..4", "not ok 1 - exit 1"]);
    assert_eq!(lines.last(), Some(&"Bail out! 3 not run"));
}

fn statuses(fixture: &Fixture) {
    let cases: [(&[&str], &str, i32, &str); 4] = [
        (&[], "exit 0", 0, "PASS"),
        (&["--timeout=1s"], "sleep 1000", 1, "timed out after 1 s"),
        (&["--user=nobody-here"], "true", 125, "ERROR"),
        (&["--workdir=/not/there"], "true", 125, "ERROR"),
    ];
    for (options, case, status, said) in cases {
        let finished = fixture.test(options, &[case]).output();
        assert_eq!(finished.code(), Some(status), "{finished:?}");
        assert!(finished.stdout.contains(said), "{finished:?}");
    }
    let missing = fixture.machine(&["test"], &[]);
    let finished = missing
        .args(["--cases", "1", "--", "/no/such/program"])
        .output();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    assert!(finished.stdout.contains("status 127: not found"));
}
