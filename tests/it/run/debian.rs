//! A real Debian 12 boots to its login prompt from every shape of image, and each image is
//! bit-identical afterwards. `--boot-timeout` is what would fail where no prompt comes.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::{ended, report};
use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;
use crate::env::images::{LoopDevice, chain_of_three};
use crate::env::residue::sha256;

fn boots_to_login(image: &Path, files: &[PathBuf], options: &[&str]) {
    let before: Vec<String> = files.iter().map(|file| sha256(file)).collect();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let run = Bivouac::run()
        .args(["--memory", "1G", "--boot-timeout", "10m"])
        .args(options);
    let mut running = run.arg("--report").arg(&json).arg(image).start();
    running.wait_for("debian12 login: ");
    running.signal(Signal::SIGTERM);
    ended(&running.wait(), 143);
    let report = report(&json);
    assert!(report["phases"]["login-prompt"].is_number(), "{report:#}");
    assert!(
        report["overlays"][0]["bytes"].as_u64().unwrap() > 0,
        "a boot writes: {report:#}"
    );
    let after: Vec<String> = files.iter().map(|file| sha256(file)).collect();
    assert_eq!(before, after);
}

#[test]
fn debian_boots_to_login_from_qcow2() {
    let image = guest("debian12.qcow2");
    boots_to_login(&image, std::slice::from_ref(&image), &[]);
}

#[test]
fn debian_boots_to_login_from_raw() {
    let image = guest("debian12.raw");
    boots_to_login(&image, std::slice::from_ref(&image), &[]);
}

#[test]
fn debian_boots_to_login_from_the_top_of_a_chain_of_three() {
    let dir = tempfile::tempdir().unwrap();
    let files = chain_of_three(dir.path(), &guest("debian12.raw"));
    boots_to_login(&files[0], &files, &[]);
}

#[test]
fn debian_boots_to_login_from_a_block_device() {
    let image = guest("debian12.raw");
    let device = LoopDevice::of(&image);
    boots_to_login(device.path(), std::slice::from_ref(&image), &[]);
}

#[test]
fn debian_boots_to_login_with_uefi_firmware() {
    let image = guest("debian12.qcow2");
    boots_to_login(
        &image,
        std::slice::from_ref(&image),
        &["--firmware", "uefi"],
    );
}
