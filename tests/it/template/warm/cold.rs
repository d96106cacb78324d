//! Machines of which there is no template: they boot all the same, and it is said why.

use serde_json::Value;

use super::{Camp, as_if_written};
use crate::env::images::LoopDevice;

/// Whatever keeps it from being saved is a word, and the command runs.
#[test]
fn what_cannot_be_saved_is_booted() {
    let camp = Camp::new();
    let boots = |options: &[&str], said: &str, template: Value| {
        let (finished, found) = camp.reported(options, "cat /etc/hostname; exit 7");
        assert_eq!(finished.code(), Some(7), "{finished:?}");
        assert_eq!(finished.stdout, "box\n", "{finished:?}");
        assert!(finished.stderr.contains(said), "{finished:?}");
        assert_eq!(found, template);
        camp.is_clean(&[]);
    };
    let lock = as_if_written(&camp.image());
    boots(
        &[],
        "image.raw is being written by another process; the machine is booted",
        Value::Null,
    );
    drop(lock);

    // QEMU finds out when it is to save it, and then it is known.
    boots(&["--bus", "nvme"], "; the machine is booted", Value::Null);
    boots(
        &["--bus", "nvme"],
        "could not be restored before",
        Value::Null,
    );
    assert!(camp.published("image").is_empty());
}

/// Nothing has to boot for these: the word comes first.
#[test]
fn a_machine_that_is_never_saved_says_so_before_it_boots() {
    let camp = Camp::new();
    let device = LoopDevice::of(&camp.image());
    let device = format!("--disk={},format=raw", device.path().display());
    for (options, said) in [
        (
            vec![device.as_str()],
            "is a block device, whose changes leave no trace",
        ),
        (
            vec!["--via", "qga"],
            "the QEMU guest agent cannot tell clones apart",
        ),
        (vec!["--qemu-arg=-nodefaults"], "--qemu-arg may name files"),
    ] {
        let finished = camp
            .warm(&[&options[..], &["--timeout", "2"]].concat(), "true")
            .output();
        assert_eq!(finished.code(), Some(124), "{finished:?}");
        assert!(finished.stderr.contains(said), "{finished:?}");
        assert!(finished.stderr.contains("; the machine is booted"));
        camp.is_clean(&[]);
    }
    assert!(camp.published("image").is_empty());
}
