//! Machines of which there is no template: they boot all the same, and it is said why.

use serde_json::Value;

use super::{Camp, as_if_written};
use crate::env::images::LoopDevice;

#[test]
fn what_cannot_be_saved_is_booted_and_it_is_said_why() {
    let camp = Camp::new();
    let nvme = ["--bus", "nvme"];
    let (finished, template) = camp.reported(&nvme, "cat /etc/hostname; exit 7");
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    assert_eq!(finished.stdout, "box\n", "{finished:?}");
    let said = |said: &str| finished.stderr.contains(said);
    assert!(
        said("QEMU could not save the machine: non-migratable device"),
        "{finished:?}"
    );
    assert!(said("; the machine is booted"), "{finished:?}");
    assert_eq!(template, Value::Null);
    camp.is_clean(&[]);

    // The word comes before the boot.
    let says = |options: &[&str], said: &str| {
        let run = camp.warm(&[options, &["--timeout", "2"]].concat(), "true");
        let finished = run.output();
        assert_eq!(finished.code(), Some(124), "{finished:?}");
        assert!(finished.stderr.contains(said), "{finished:?}");
        assert!(finished.stderr.contains("; the machine is booted"));
        camp.is_clean(&[]);
    };
    // It was tried once.
    says(
        &nvme,
        "could not be made or restored before: QEMU could not save",
    );
    let looped = LoopDevice::of(&camp.image());
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
    let lock = as_if_written(&camp.image());
    says(&[], "image.raw is being written by another process");
    drop(lock);
    assert!(camp.published("image").is_empty());
}
