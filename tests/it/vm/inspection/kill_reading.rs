//! Invariant "Nothing is left behind", while the log and the packages of an image are read.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::env::bivouac::children;
use crate::env::filesystems::{filesystem, write_files};
use crate::env::mount_ns::MountNs;
use crate::env::random::Random;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

const COMMANDS: [&[&str]; 3] = [
    &["log"],
    &["inspect", "--packages"],
    &["inspect", "--sbom", "cyclonedx"],
];

/// A system with 5,000 packages and a log of 20,000 messages.
fn system(dir: &Path) -> std::path::PathBuf {
    let (mut packages, mut log) = (String::new(), String::new());
    for number in 0..5000 {
        let paragraph = "Status: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n";
        writeln!(packages, "Package: package{number}\n{paragraph}").unwrap();
    }
    for number in 0..20_000 {
        let (minute, second) = (number / 60 % 60, number % 60);
        let time = format!(
            "2024-03-02T{:02}:{minute:02}:{second:02}+00:00",
            number / 3600
        );
        writeln!(log, "{time} core cron[7]: message {number}").unwrap();
    }
    let root = dir.join("root");
    write_files(
        &root,
        &[
            ("etc/os-release", "ID=debian\n"),
            ("var/lib/dpkg/status", &packages),
            ("var/log/syslog", &log),
        ],
    );
    filesystem(
        dir,
        "image",
        16,
        "mkfs.ext4",
        &["-q", "-d", root.to_str().unwrap()],
    )
}

#[test]
fn nothing_is_left_when_it_ends_while_log_or_packages_are_read_whatever_the_instant() {
    let ns = MountNs::new();
    let dir = tempfile::tempdir().unwrap();
    let image = ns.path("kept/image");
    fs::copy(system(dir.path()), &image).unwrap();
    let before = sha256(&image);
    let start = |command: &[&str]| {
        let bivouac = ns.bivouac().args(command);
        bivouac.arg(ns.inside("kept/image")).start()
    };
    // All of it can be read; from here on there is a template.
    for (command, last) in COMMANDS
        .iter()
        .zip(["message 19999", "package4999", "package4999"])
    {
        let done = start(command).wait();
        assert_eq!(done.code(), Some(0), "{}", done.stderr);
        assert!(done.stdout.contains(last), "{command:?}");
    }
    let (residue, free) = (ns.residue(), ns.free());
    let mut random = Random::new();
    for round in 0..15 {
        let command = COMMANDS[round % 3];
        let signal = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT][round / 3 % 3];
        let is_qemu = round >= 9 && round % 2 == 1;
        let running = start(command);
        std::thread::sleep(Duration::from_millis(random.below(1200)));
        let qemus = children(running.pid());
        match qemus.first().filter(|_| is_qemu) {
            // It may be gone by now.
            Some(qemu) => drop(kill(*qemu, Signal::SIGKILL)),
            None => running.signal(signal),
        }
        let done = running.wait();
        let round = format!("round {round}, {command:?}, {signal}, {is_qemu}: {done:?}");
        // Killed, told to end, without its QEMU, or done before.
        let status = (done.code(), done.status.signal());
        let ends = [
            (Some(0), None),
            (None, Some(9)),
            (Some(143), None),
            (Some(130), None),
            // Before it listened for signals.
            (None, Some(signal as i32)),
        ];
        assert!(
            ends.contains(&status) || is_qemu && matches!(status.0, Some(123 | 125)),
            "{round:.500}"
        );
        soon("QEMU is gone", || !qemus.iter().any(|qemu| alive(*qemu)));
        soon("the space is given back", || ns.free() >= free);
        assert_eq!(ns.residue(), residue, "{round:.500}");
    }
    assert_eq!(sha256(&image), before);
}
