//! This host's QEMU and its firmware: found, asked, and gone afterwards.

use std::fs;
use std::path::Path;

use bivouac::host::{firmware, probe, qemu};
use bivouac::sandbox::{Mode, Settings};

use crate::host::qemu::programs;

#[test]
fn this_hosts_qemu_answers_with_its_version_and_has_every_device() {
    let path = qemu::find(None).expect("QEMU: these tests need it");
    let found = probe::ask(&path, &Settings::default()).expect("it answers");
    assert!(
        (found.version.0, found.version.1) >= probe::OLDEST,
        "{found:?}"
    );
    assert_eq!(found.missing, Vec::<&str>::new());
}

#[test]
fn no_emulator_stays_after_it_was_asked() {
    let bin = programs(
        &["qemu"],
        "echo $$ >\"$0.pid\"; exec qemu-system-x86_64 \"$@\"",
    );
    // The script starts the real one.
    let unconfined = Settings {
        mode: Mode::Off,
        read: Vec::new(),
    };
    probe::ask(&bin.path().join("qemu"), &unconfined).expect("it answers");
    let pid = fs::read_to_string(bin.path().join("qemu.pid")).expect("its number");
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn this_hosts_firmware_is_found_for_q35() {
    let found = firmware::find_uefi("q35").expect("UEFI firmware: these tests need it");
    assert!(found.code.is_file() && found.vars_template.is_file());
}
