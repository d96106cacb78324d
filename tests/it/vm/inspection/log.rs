//! `bivouac log`: a journal that systemd-journal-remote has written, against journalctl; and classic files.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::cases::Cases;
use crate::env::filesystems::{filesystem, run, write_files};
use crate::env::residue::sha256;

const JOURNALS: &str = "var/log/journal/0123456789abcdef0123456789abcdef";

/// Three boots of a machine in the export format of journals: of the kernel, a service with some long messages,
/// which are compressed, and the manager.
fn export() -> String {
    let mut text = String::new();
    for boot in 0..3_u64 {
        for number in 0..100_u64 {
            let time = 1_700_000_000_000_000 + boot * 86_400_000_000 + number * 1_000_000;
            writeln!(text, "__REALTIME_TIMESTAMP={time}").unwrap();
            writeln!(text, "__MONOTONIC_TIMESTAMP={}", number * 1_000_000 + 1).unwrap();
            writeln!(
                text,
                "_BOOT_ID={:032x}\n_HOSTNAME=core",
                (boot + 1) * 0x1111
            )
            .unwrap();
            writeln!(text, "PRIORITY={}", number % 8).unwrap();
            let fields = match number % 3 {
                0 => format!("SYSLOG_IDENTIFIER=kernel\nMESSAGE=\tkernel says {number}"),
                1 => {
                    let long = "long ".repeat(if number % 10 == 1 { 400 } else { 1 });
                    let who = format!("_COMM=sshd\n_PID={number}\n_SYSTEMD_UNIT=ssh.service");
                    format!("{who}\nMESSAGE=ssh {number} {long}")
                }
                _ => format!(
                    "SYSLOG_IDENTIFIER=systemd\n_PID=1\nUNIT=cron.service\nMESSAGE=Did {number}"
                ),
            };
            writeln!(text, "{fields}\n").unwrap();
        }
    }
    text
}

/// A filesystem with that journal, and with classic files.
fn image(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    let line = |time: &str, rest: &str| format!("{time} core {rest}\n");
    let current = [
        line(
            "2024-03-02T10:00:00.5+00:00",
            "kernel: [    0.0] Linux version 6.1",
        ),
        line("2024-03-02T10:00:01.5+00:00", "cron[7]: (root) CMD (x)"),
        "  and more\n".to_owned(),
        line("2024-03-02T10:00:02.5+00:00", "sshd[8]: Accepted"),
    ];
    let older = line("Mar  1 09:00:00", "kernel: [    0.0] Linux version 6.0")
        + &line("Mar  1 09:00:01", "sshd[3]: old");
    write_files(
        &root,
        &[
            ("etc/os-release", "ID=core\n"),
            ("var/log/syslog", &current.concat()),
            ("var/log/syslog.1", &older),
            (
                "var/log/syslog.2",
                &line("Feb 29 08:00:00", "sshd[2]: older"),
            ),
            (
                "var/log/syslog.3",
                &line("Feb 28 08:00:00", "sshd[1]: oldest"),
            ),
            (&format!("{JOURNALS}/.keep"), ""),
        ],
    );
    let log = |name: &str| root.join("var/log").join(name).to_str().unwrap().to_owned();
    let times = ["2024-03-02", "2024-03-02", "2024-03-01", "2024-02-29"];
    for (name, time) in ["syslog", "syslog.1", "syslog.2", "syslog.3"]
        .iter()
        .zip(times)
    {
        run("touch", &["-d", time, &log(name)]);
    }
    run("gzip", &[&log("syslog.2")]);
    run("zstd", &["-q", "--rm", &log("syslog.3")]);
    let journal = root.join(JOURNALS).join("system.journal");
    let mut remote = Command::new("/lib/systemd/systemd-journal-remote")
        .args(["-o", journal.to_str().unwrap(), "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-journal-remote: scripts/setup installs it");
    remote
        .stdin
        .take()
        .unwrap()
        .write_all(export().as_bytes())
        .unwrap();
    assert!(remote.wait().unwrap().success());
    let options = ["-q", "-d", root.to_str().unwrap()];
    filesystem(dir, "image", 48, "mkfs.ext4", &options)
}

fn log(args: &[&str], image: &Path) -> Finished {
    Bivouac::new().arg("log").args(args).arg(image).output()
}

fn shown(args: &[&str], image: &Path) -> String {
    let done = log(args, image);
    assert_eq!(done.code(), Some(0), "{args:?}: {done:?}");
    done.stdout
}

#[test]
fn the_journal_is_shown_as_journalctl_does() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path());
    let before = sha256(&image);
    let journal = dir
        .path()
        .join("root")
        .join(JOURNALS)
        .join("system.journal");
    let theirs = |args: &[&str]| {
        let mut command = Command::new("journalctl");
        command
            .env("TZ", "UTC")
            .args(["--no-pager", "--file", journal.to_str().unwrap()]);
        let output = command.args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let mut cases = Cases::default();
    // Ours, theirs, and the number of lines: one for each message, and one between two boots.
    let same: [(&[&str], &[&str], usize); 6] = [
        (&[], &[], 302),
        (&["-b"], &["-b"], 100),
        (&["--boot=-1", "-n", "3"], &["-b", "-1", "-n", "3"], 3),
        (&["-p", "err", "-u", "ssh"], &["-p", "err", "-u", "ssh"], 53),
        (&["-u", "cron.service"], &["-u", "cron.service"], 101),
        (
            &[
                "--since",
                "2023-11-15 22:14",
                "--until",
                "2023-11-16 22:13:30",
            ],
            &[
                "--since",
                "2023-11-15 22:14",
                "--until",
                "2023-11-16 22:13:30",
            ],
            72,
        ),
    ];
    for (args, as_typed, count) in same {
        cases.case(&args.join(" "), || {
            let ours = shown(args, &image);
            assert_eq!(ours.lines().count(), count, "{ours}");
            assert_eq!(ours, theirs(as_typed));
        });
    }
    cases.case("JSON", || {
        let text = shown(&["--json", "-n", "1", "-u", "cron"], &image);
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["message"], "Did 98");
        assert_eq!(object["time"], "2023-11-16T22:14:58Z");
        assert_eq!(
            (&object["unit"], &object["priority"]),
            (&"cron.service".into(), &2.into())
        );
    });
    cases.case("no such boot", || {
        let done = log(&["--boot=-3"], &image);
        assert_eq!(done.code(), Some(125), "{done:?}");
        assert!(done.stderr.contains("no such boot"), "{done:?}");
    });
    cases.case("log files", || log_files(&image));
    cases.case("a damaged journal", || {
        let place = dir.path().join("root").join(JOURNALS);
        fs::write(place.join("user-1000.journal"), "no journal").unwrap();
        let root = dir.path().join("root");
        let options = ["-q", "-d", root.to_str().unwrap()];
        let damaged = filesystem(dir.path(), "damaged", 48, "mkfs.ext4", &options);
        let done = log(&["-b"], &damaged);
        assert_eq!(
            (done.code(), done.stdout.lines().count()),
            (Some(1), 100),
            "{done:?}"
        );
        assert!(
            done.stderr
                .contains("user-1000.journal: not a journal file"),
            "{done:?}"
        );
    });
    cases.case("the image is what it was", || {
        assert_eq!(sha256(&image), before)
    });
}

/// The current file and the rotated ones, which are compressed in two ways.
fn log_files(image: &Path) {
    let all = shown(&["--syslog"], image);
    let expected = [
        "oldest", "older", "6.0", "old", "6.1", "CMD (x)", "and more", "Accepted",
    ];
    let lines: Vec<_> = all.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{all}");
    for (line, end) in lines.iter().zip(expected) {
        assert!(line.ends_with(end), "{line}");
    }
    let last = shown(&["--syslog", "--boot"], image);
    assert_eq!(last, lines[4..].join("\n") + "\n");
    let before = shown(&["--syslog", "--boot=-1", "-u", "sshd"], image);
    assert_eq!(before, format!("{}\n", lines[3]));
    let since = shown(
        &[
            "--syslog",
            "--since",
            "2024-02-29",
            "--until",
            "2024-03-01 09:00:00",
        ],
        image,
    );
    assert_eq!(since, lines[1..3].join("\n") + "\n");
    assert_eq!(
        shown(&["--syslog", "-n", "2"], image),
        lines[5..].join("\n") + "\n"
    );
    let done = log(&["--syslog", "-p", "err"], image);
    assert_eq!(done.code(), Some(125), "{done:?}");
    assert!(done.stderr.contains("have no priorities"), "{done:?}");
}
