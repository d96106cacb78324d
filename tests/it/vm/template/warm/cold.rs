//! Machines of which there is no template: they boot all the same, and it is said why.

use serde_json::Value;

use super::{INITTAB, MACHINE_ID, WarmFixture, as_if_written};
use crate::env::images::LoopDevice;

#[test]
fn what_cannot_be_saved_is_booted_and_it_is_said_why() {
    let read_only = format!("{INITTAB}::sysinit:/bin/mount -o remount,ro /\n");
    let fixture = WarmFixture::started_by(&read_only);
    let nvme = ["--bus", "nvme"];
    let named = [&nvme[..], &["--hostname", "web-1", "--new-machine-id"]].concat();
    let script = "hostname; cat /etc/hostname /etc/machine-id; touch /mine 2>/dev/null || exit 7";
    let (finished, template) = fixture.reported(&named, script);
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    // Also where nobody can write these files.
    let lines: Vec<_> = finished.stdout.lines().collect();
    assert_eq!(lines[..2], ["web-1", "web-1"], "{finished:?}");
    assert!(
        lines[2].len() == 32 && lines[2] != MACHINE_ID,
        "{finished:?}"
    );
    let said = |said: &str| finished.stderr.contains(said);
    assert!(
        said("QEMU could not save the machine: non-migratable device"),
        "{finished:?}"
    );
    assert!(said("; the machine is booted"), "{finished:?}");
    assert_eq!(template, Value::Null);
    fixture.is_clean(&[]);

    // The word comes before the boot.
    let says = |options: &[&str], said: &str| {
        let run = fixture.warm(&[options, &["--timeout", "2"]].concat(), "true");
        let finished = run.output();
        assert_eq!(finished.code(), Some(124), "{finished:?}");
        assert!(finished.stderr.contains(said), "{finished:?}");
        assert!(finished.stderr.contains("; the machine is booted"));
        fixture.is_clean(&[]);
    };
    // It was tried once.
    says(
        &nvme,
        "could not be made or restored before: QEMU could not save",
    );
    // Nobody could tell a machine its name that boots for its console.
    let named = ["--warm", "--net", "user", "--hostname", "web-1"];
    let finished = fixture.run(&[&named[..], &nvme].concat()).output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    let said =
        "--hostname and --new-machine-id need a machine restored from a template: the template";
    assert!(finished.stderr.contains(said), "{finished:?}");
    let looped = LoopDevice::of(&fixture.image());
    let device = format!("--disk={},format=raw", looped.path().display());
    says(
        &[&device],
        "is a block device, whose changes leave no trace",
    );
    says(
        &["--via", "qga"],
        "the QEMU guest agent cannot tell clones apart",
    );
    says(&["--qemu-arg=-nodefaults"], "--qemu-arg may name files");
    let lock = as_if_written(&fixture.image());
    says(&[], "image.raw is being written by another process");
    drop(lock);
    assert!(fixture.published("image").is_empty());
}
