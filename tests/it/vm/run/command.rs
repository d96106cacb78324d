//! A command in a real Debian 12 that boots: one boot tells of its streams, its status, the copies
//! around it, and the report; the image is bit-identical afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::report;
use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;
use crate::env::residue::sha256;

#[test]
fn a_booted_debian_runs_a_command_with_its_streams_apart_and_its_status_is_ours() {
    let image = guest("debian12.qcow2");
    let before = sha256(&image);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("in/deep")).unwrap();
    fs::write(path("in/deep/script"), "#!/bin/sh\ncat\n").unwrap();
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path("in/deep/script"), executable).unwrap();
    let copies = [
        format!("--copy-in={}:/srv/new/place", path("in").display()),
        format!("--copy-out=/srv/new/out:{}", path("out").display()),
        format!("--copy-out=/etc/hostname:{}/", dir.path().display()),
    ];
    let script = "/srv/new/place/deep/script; echo err >&2; \
                  systemctl is-active multi-user.target; id -un; pwd; echo \"$A\"; \
                  mkdir -m 0710 /srv/new/out; echo out > /srv/new/out/file; exit 7";
    let mut running = Bivouac::run()
        .args(["--memory", "1G", "--timeout", "20m", "--env", "A=b c"])
        .args(copies)
        .args(["--workdir", "/var/tmp", "--report"])
        .arg(path("report.json"))
        .arg(&image)
        .args(["--", "sh", "-c", script])
        .start();
    running.type_in("typed\n");
    running.stdin = None;
    // As patient as for a boot, and then again for its end.
    running.wait_for("active\n");
    let finished = running.wait();
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    assert_eq!(finished.stdout, "typed\nactive\nroot\n/var/tmp\nb c\n");
    assert_eq!(finished.stderr, "err\n");
    assert_eq!(fs::read_to_string(path("out/file")).unwrap(), "out\n");
    let mode = fs::metadata(path("out")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o710);
    assert!(!fs::read_to_string(path("hostname")).unwrap().is_empty());
    let report = report(&path("report.json"));
    assert_eq!(report["verdict"]["end"], "command", "{report:#}");
    assert_eq!(
        (&report["verdict"]["status"], &report["command"]),
        (&7.into(), &7.into())
    );
    let phases = &report["phases"];
    let moments = [
        "seeded",
        "running",
        "ready",
        "copied-in",
        "command",
        "copied-out",
        "ended",
    ]
    .map(|phase| {
        phases[phase]
            .as_f64()
            .unwrap_or_else(|| panic!("{phase}: {report:#}"))
    });
    assert!(moments.is_sorted(), "{report:#}");
    assert_eq!(sha256(&image), before);
}

#[test]
fn a_booted_debian_runs_a_command_by_the_qemu_guest_agent() {
    let image = guest("debian12.raw");
    let before = sha256(&image);
    let mut running = Bivouac::run()
        .args(["--memory", "1G", "--timeout", "20m", "--via", "qga"])
        .args(["--env", "A=b c"])
        .arg(&image)
        .args(["--", "sh", "-c", "cat; echo \"$A\"; echo err >&2; exit 7"])
        .start();
    running.type_in("typed\n");
    running.stdin = None;
    let finished = running.wait();
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    assert_eq!(finished.stdout, "typed\nb c\n");
    assert_eq!(finished.stderr, "err\n");
    assert_eq!(sha256(&image), before);
}
