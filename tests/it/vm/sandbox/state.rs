//! What /proc says of a running QEMU, and kernels that lack what the sandbox needs.

use std::fs;
use std::path::Path;

use nix::unistd::Pid;

use super::Victim;
use crate::architecture::root;
use crate::env::bivouac::{Bivouac, children};
use crate::env::guests::guest;
use crate::env::qemu10;
use crate::env::script::write_script;
use crate::env::wait::soon;

fn field(pid: Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default()
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The rows of the table in SECURITY.md: a field of /proc/PID/status, and what it says when an ordinary
/// user, or root, has started QEMU.
fn documented(is_root: bool) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let table = text.split("| `/proc/PID/status` |").nth(1).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let value = cells[if is_root { 3 } else { 2 }].trim_matches('`');
        (cells[1].trim_matches('`').to_owned(), value.to_owned())
    })
    .collect()
}

#[test]
fn a_running_qemu_has_no_rights_of_the_user() {
    for (is_root, is_10) in [(false, false), (true, false), (false, true), (true, true)] {
        let victim = Victim::new(is_root);
        let mut words =
            "run --kernel bin/tiny-kernel --append bivouac.do=hang --memory 256M".to_owned();
        if is_10 {
            let program = qemu10::copy_to(&victim.path("qemu10"));
            let options = " --sandbox-read qemu10 --sandbox-read /usr --qemu ";
            words.push_str(options);
            words.push_str(program.to_str().unwrap());
        }
        let words: Vec<_> = words.split(' ').collect();
        let mut bivouac = victim.bivouac("require", &words).spawn().unwrap();
        let launcher = Pid::from_raw(bivouac.id() as i32);
        let mut qemu = launcher;
        soon("QEMU runs", || {
            let is_qemu = |pid: &&Pid| {
                let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                // Its own filter is the last.
                program.to_string_lossy().contains("qemu") && field(**pid, "Seccomp_filters") == "5"
            };
            let found = children(launcher);
            qemu = found.iter().find(is_qemu).copied().unwrap_or(launcher);
            qemu != launcher
        });
        let rows = documented(is_root);
        assert!(rows.len() >= 10, "{rows:?}");
        for (name, documented) in rows {
            let expected = match documented.as_str() {
                "the user's" => field(launcher, &name),
                "its own" => (1_900_000_000 + qemu.as_raw()).to_string(),
                "none" => String::new(),
                value => value.to_owned(),
            };
            assert_eq!(
                field(qemu, &name),
                expected,
                "{name}, root {is_root}, 10 {is_10}"
            );
        }
        let environment = fs::read(format!("/proc/{qemu}/environ")).unwrap();
        // A shell adds variables of its own.
        assert!(is_10 || environment == b"LC_ALL=C\0");
        bivouac.kill().unwrap();
        bivouac.wait().unwrap();
    }
}

/// A filter that answers as a kernel does that has no Landlock.
fn without_landlock(script: &Path) {
    let inject = "strace -f -qq -o /dev/null -e inject=landlock_create_ruleset:error=ENOSYS";
    write_script(script, &format!("exec {inject} \"$@\""));
}

#[test]
fn without_landlock_it_is_said_once_and_required_in_vain() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("old-kernel");
    without_landlock(&script);
    let run = |mode: &str| {
        Bivouac::by(&script)
            .arg(env!("CARGO_BIN_EXE_bivouac"))
            .args(["ls", "--no-template", "--sandbox", mode])
            .arg(guest("box.qcow2"))
            .output()
    };
    let finished = run("auto");
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let said = finished
        .stderr
        .matches("confined less than usually: this kernel has no Landlock");
    assert_eq!(said.count(), 1, "{finished:?}");
    let finished = run("require");
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    assert!(
        finished.stderr.contains("this kernel has no Landlock"),
        "{finished:?}"
    );
    assert!(finished.stderr.contains("--sandbox auto"), "{finished:?}");
}

/// The report says what was enforced.
#[test]
fn the_report_has_the_sandbox() {
    let victim = Victim::new(false);
    let image = victim.path("box.qcow2");
    fs::copy(guest("box.qcow2"), &image).unwrap();
    let words = [
        "ls",
        "--no-template",
        "--report",
        "report.json",
        "box.qcow2",
    ];
    let output = victim.output("require", &words);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = fs::read(victim.path("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let sandbox = &report["looks"][0]["sandbox"];
    assert_eq!(sandbox["seccomp"], true);
    assert!(sandbox["landlock"].as_u64().unwrap() >= 3);
    assert!(
        sandbox["user"].is_null(),
        "an ordinary user stays what it is"
    );
}
