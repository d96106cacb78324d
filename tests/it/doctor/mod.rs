//! `bivouac doctor` as a user meets it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::host::write_script;

pub fn doctor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bivouac"));
    command.arg("doctor");
    for name in ["BIVOUAC_QEMU", "BIVOUAC_KERNEL", "TMPDIR"] {
        command.env_remove(name);
    }
    command
}

pub fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn the_verdict_on_kvm_is_the_same_where_the_alarms_signal_is_ignored_or_blocked() {
    let kvm = |arguments: &[&str]| {
        let mut command = Command::new("env");
        command
            .args(arguments)
            .arg(env!("CARGO_BIN_EXE_bivouac"))
            .args(["doctor", "--qemu", "nowhere"]);
        let text = text(&command.output().expect("env of coreutils runs"));
        let line = text
            .lines()
            .find(|line| line.contains("KVM") || line.contains("kvm"));
        line.expect("a finding")
            .replace(|c: char| c.is_ascii_digit(), "")
    };
    let plain = kvm(&[]);
    assert_eq!(kvm(&["--ignore-signal=VTALRM"]), plain);
    assert_eq!(kvm(&["--block-signal=VTALRM"]), plain);
}

#[test]
fn nothing_of_doctors_stays_when_it_is_killed_while_qemu_starts() {
    let directory = tempfile::tempdir().expect("a directory");
    let (qemu, pid) = (directory.path().join("qemu"), directory.path().join("pid"));
    let file = pid.display();
    write_script(
        &qemu,
        &format!("echo $$ >{file}.new; mv {file}.new {file}; exec sleep 600"),
    );
    let mut running = doctor()
        .arg("--qemu")
        .arg(&qemu)
        // The script starts other programs.
        .args(["--sandbox", "off"])
        .spawn()
        .expect("bivouac runs");
    let deadline = Instant::now() + Duration::from_secs(60);
    let wait_until = |what: &str, done: &dyn Fn() -> bool| {
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    wait_until("QEMU was not started", &|| pid.exists());
    let number = fs::read_to_string(&pid).expect("its number");
    running.kill().expect("a kill");
    running.wait().expect("an end");
    let process = Path::new("/proc").join(number.trim());
    wait_until("QEMU stays", &|| !process.exists() || is_zombie(&process));
}

/// Dead, and waiting to be reaped by whoever took the orphan over.
fn is_zombie(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}
