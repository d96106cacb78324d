//! A real Debian 12 boots from every shape of image, and each image is bit-identical afterwards:
//! here from a chain, and from a block device with UEFI; from plain qcow2 and raw images in
//! [`super::command`]. `--boot-timeout` is what would fail where no prompt comes.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use super::{ended, report};
use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;
use crate::env::images::{LoopDevice, chain_of_three};
use crate::env::residue::sha256;

/// Also that it is saved once it has booted, and restored, which no other guest shows with systemd.
#[test]
fn debian_on_the_top_of_a_chain_of_three_boots_is_saved_and_restored() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let files = chain_of_three(dir.path(), &guest("debian12.raw"));
    let before: Vec<String> = files.iter().map(|file| sha256(file)).collect();
    let json = dir.path().join("report.json");
    let script = "systemctl is-system-running; hostname; cat /etc/machine-id; exit 7";
    let mut ids = BTreeSet::new();
    for (name, template) in [("web-1", "built"), ("web-2", "restored")] {
        let run = Bivouac::run()
            .args(["--warm", "--memory", "1G", "--timeout", "20m"])
            .args(["--new-machine-id", "--hostname", name]);
        let run = run.env("XDG_CACHE_HOME", dir.path().join("cache"));
        let run = run.arg("--report").arg(&json).arg(&files[0]);
        let finished = run.args(["--", "sh", "-c", script]).start().wait();
        assert_eq!(finished.code(), Some(7), "{finished:?}");
        let lines: Vec<_> = finished.stdout.lines().collect();
        // Nothing is being started any more.
        assert!(["running", "degraded"].contains(&lines[0]), "{finished:?}");
        assert_eq!(lines[1], name, "{finished:?}");
        assert!(ids.insert(lines[2].to_owned()) && lines[2].len() == 32);
        assert_eq!(report(&json)["template"], template);
    }
    let after: Vec<String> = files.iter().map(|file| sha256(file)).collect();
    assert_eq!(before, after);
}

/// One boot for both: they have nothing to do with each other, and it takes more than a minute.
#[test]
fn debian_boots_to_login_from_a_block_device_by_uefi_firmware() {
    let image = guest("debian12.raw");
    let device = LoopDevice::of(&image);
    let before = sha256(&image);
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let run = Bivouac::run().args(["--memory", "1G", "--boot-timeout", "10m"]);
    let run = run.args(["--firmware", "uefi", "--report"]).arg(&json);
    let mut running = run.arg(device.path()).start();
    running.wait_for("debian12 login: ");
    running.signal(Signal::SIGTERM);
    ended(&running.wait(), 143);
    let report = report(&json);
    assert!(report["phases"]["login-prompt"].is_number(), "{report:#}");
    assert!(
        report["overlays"][0]["bytes"].as_u64().unwrap() > 0,
        "a boot writes: {report:#}"
    );
    assert_eq!(before, sha256(&image));
}
