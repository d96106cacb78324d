//! A real Debian 12 boots, in as few boots as show all of it: from a chain, where it is saved and
//! restored and a command has its streams, its status, its copies and its report; and from a block
//! device by UEFI firmware, where the QEMU guest agent runs a command. Each image is bit-identical
//! afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::cases::Cases;
use crate::env::guests::guest;
use crate::env::images::{LoopDevice, chain_of_three};
use crate::env::residue::sha256;

/// What the command does: with what was copied in, with its streams, with the system around it,
/// and with what is to be copied out.
const SCRIPT: &str = "/srv/new/place/deep/script; echo err >&2; \
     systemctl is-system-running; systemctl is-active multi-user.target; \
     hostname; cat /etc/machine-id; id -un; pwd; echo \"$A\"; \
     mkdir -m 0710 /srv/new/out; echo out > /srv/new/out/file; exit 7";

/// A run of Debian from a chain, warm, with copies around its command, in a directory of its own.
fn run(dir: &Path, image: &Path, name: &str) -> Finished {
    let path = |file: &str| dir.join(name).join(file);
    fs::create_dir_all(path("in/deep")).unwrap();
    fs::write(path("in/deep/script"), "#!/bin/sh\ncat\n").unwrap();
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path("in/deep/script"), executable).unwrap();
    let mut running = Bivouac::run()
        .args(["--warm", "--memory", "1G", "--timeout", "20m"])
        .args(["--new-machine-id", "--hostname", name])
        .args(["--env", "A=b c", "--workdir", "/var/tmp"])
        .arg(format!("--copy-in={}:/srv/new/place", path("in").display()))
        .arg(format!("--copy-out=/srv/new/out:{}", path("out").display()))
        .arg(format!("--copy-out=/etc/hostname:{}/", path("").display()))
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .reporting()
        .arg(image)
        .args(["--", "sh", "-c", SCRIPT])
        .start();
    running.type_in("typed\n");
    running.stdin = None;
    // As patient as for a boot, and then again for its end.
    running.wait_for("typed\n");
    running.wait()
}

fn check_streams(finished: &Finished, name: &str) -> String {
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    let lines: Vec<_> = finished.stdout.lines().collect();
    // Nothing is being started any more.
    assert!(["running", "degraded"].contains(&lines[1]), "{finished:?}");
    let told = [lines[0], lines[2], lines[3], lines[5], lines[6], lines[7]];
    let expected = ["typed", "active", name, "root", "/var/tmp", "b c"];
    assert_eq!((told, lines.len()), (expected, 8), "{finished:?}");
    assert_eq!(finished.stderr, "err\n");
    lines[4].to_owned()
}

fn check_copies(dir: &Path) {
    assert_eq!(fs::read_to_string(dir.join("out/file")).unwrap(), "out\n");
    let mode = fs::metadata(dir.join("out")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o710);
    assert!(!fs::read_to_string(dir.join("hostname")).unwrap().is_empty());
}

/// The report tells the command's end, and what was over when.
fn check_report(report: &Value, phases: &[&str]) {
    assert_eq!(report["verdict"]["end"], "command", "{report:#}");
    assert_eq!(report["verdict"]["status"], 7, "{report:#}");
    assert_eq!(report["command"], 7, "{report:#}");
    let times = phases.iter().map(|phase| {
        let time = report["phases"][phase].as_f64();
        time.unwrap_or_else(|| panic!("{phase}: {report:#}"))
    });
    assert!(times.is_sorted(), "{report:#}");
}

#[test]
fn debian_on_the_top_of_a_chain_of_three_runs_commands_is_saved_and_restored() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let dir = dir.path();
    let files = chain_of_three(dir, &guest("debian12.raw"));
    let before: Vec<String> = files.iter().map(|file| sha256(file)).collect();
    let mut cases = Cases::default();
    let mut ids = BTreeSet::new();
    let built = ["injected", "running", "booted", "saved", "restored"];
    let restored = ["template", "restored"];
    let after = ["ready", "copied-in", "command", "copied-out", "ended"];
    for (name, template, phases) in [
        ("web-1", "built", [&built[..], &after].concat()),
        ("web-2", "restored", [&restored[..], &after].concat()),
    ] {
        let finished = run(dir, &files[0], name);
        cases.case(&format!("{template}: streams and status"), || {
            let id = check_streams(&finished, name);
            assert!(id.len() == 32 && ids.insert(id), "{finished:?}");
        });
        cases.case(&format!("{template}: copies"), || {
            check_copies(&dir.join(name));
        });
        cases.case(&format!("{template}: report"), || {
            assert_eq!(finished.report["template"], template);
            check_report(&finished.report, &phases);
        });
    }
    let after: Vec<String> = files.iter().map(|file| sha256(file)).collect();
    assert_eq!(before, after);
}

#[test]
fn debian_on_a_block_device_boots_by_uefi_and_runs_a_command_by_the_qemu_guest_agent() {
    let image = guest("debian12.raw");
    let device = LoopDevice::of(&image);
    let before = sha256(&image);
    let mut running = Bivouac::run()
        .args(["--memory", "1G", "--timeout", "20m", "--via", "qga"])
        .args(["--firmware", "uefi", "--env", "A=b c"])
        .reporting()
        .arg(device.path())
        .args(["--", "sh", "-c"])
        .arg("cat; echo \"$A\"; echo err >&2; [ -d /sys/firmware/efi ] && exit 7")
        .start();
    running.type_in("typed\n");
    running.stdin = None;
    let finished = running.wait();
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    assert_eq!(finished.stdout, "typed\nb c\n");
    assert_eq!(finished.stderr, "err\n");
    check_report(&finished.report, &["running", "ready", "command", "ended"]);
    let written = finished.report["overlays"][0]["bytes"].as_u64();
    assert!(written > Some(0), "a boot writes: {:#}", finished.report);
    assert_eq!(before, sha256(&image));
}
