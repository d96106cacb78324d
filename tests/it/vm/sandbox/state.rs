//! What /proc says of a running QEMU, and kernels that lack what the sandbox needs.

use std::fs;
use std::path::Path;

use super::Victim;
use crate::env::bivouac::{Bivouac, children};
use crate::env::guests::{guest, tiny};
use crate::env::script::write_script;

fn field(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_running_qemu_has_no_rights_of_the_user() {
    let mut running = Bivouac::run()
        .args(tiny("hang"))
        .arg(guest("tiny.qcow2"))
        .start();
    running.wait_for("tiny: ");
    let qemu = children(running.pid())[0];
    let pid = qemu.as_raw();
    assert_eq!(field(pid, "CapEff"), "0000000000000000");
    assert_eq!(field(pid, "NoNewPrivs"), "1");
    assert_eq!(field(pid, "Seccomp"), "2");
    // Four filters, and QEMU's own.
    assert_eq!(field(pid, "Seccomp_filters"), "5");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert_eq!(environment, b"LC_ALL=C\0");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(field(pid, "CapBnd"), "0000000000000000");
        assert_eq!(field(pid, "Groups"), "");
        let uid: i32 = field(pid, "Uid").parse().unwrap();
        assert_eq!(uid, 1_900_000_000 + pid);
    }
    drop(running);
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
