//! Invariant "Read-only by descriptor": the base is bit-identical after guests that write all
//! over their disks, whatever its shape and whoever else uses it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{ended, report};
use crate::env::bivouac::Bivouac;
use crate::env::guests::{guest, tiny};
use crate::env::images::{LoopDevice, chain_of_three, qemu_img};
use crate::env::residue::sha256;

/// A raw disk of 80 MiB full of what is not zero.
fn raw_disk(path: &Path) {
    let line = format!("yes bivouac | head -c 83886080 >'{}'", path.display());
    assert!(
        Command::new("sh")
            .args(["-c", &line])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn base_images_of_every_shape_are_bit_identical_after_a_run_that_writes_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    raw_disk(&raw);
    let qcow2 = dir.path().join("disk.qcow2");
    qemu_img(&["convert", "-O", "qcow2"], &[&raw, &qcow2]);
    let mut files = chain_of_three(dir.path(), &raw);
    let top = files[0].clone();
    let on_loop = dir.path().join("loop.raw");
    std::fs::copy(&raw, &on_loop).unwrap();
    let device = LoopDevice::of(&on_loop);
    files.extend([raw.clone(), qcow2.clone(), on_loop]);

    let before: Vec<String> = files.iter().map(|file| sha256(file)).collect();
    let json = dir.path().join("report.json");
    let run = Bivouac::run().args(tiny("writeall")).arg(&qcow2);
    let run = [&raw, &top, device.path()]
        .iter()
        .fold(run, |run, disk| run.arg("--disk").arg(disk));
    let finished = run.arg("--report").arg(&json).output();
    ended(&finished, 0);
    assert!(finished.stdout.contains("tiny: wrote-all"), "{finished:?}");
    let report = report(&json);
    let overlays = report["overlays"].as_array().unwrap();
    assert_eq!(overlays.len(), 4);
    for overlay in overlays {
        assert!(
            overlay["bytes"].as_u64().unwrap() > 60 << 20,
            "the guest wrote: {report:#}"
        );
    }
    let layers = report["layers"].as_array().unwrap();
    assert!(
        layers.iter().all(|layer| layer["unchanged"] == true),
        "{report:#}"
    );
    let after: Vec<String> = files.iter().map(|file| sha256(file)).collect();
    assert_eq!(before, after);
}

#[test]
fn every_disk_of_an_inspection_is_bit_identical_after_a_command_that_writes_to_all() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    raw_disk(&raw);
    let mut files = chain_of_three(dir.path(), &raw);
    let top = files[0].clone();
    let on_loop = dir.path().join("loop.raw");
    std::fs::copy(&raw, &on_loop).unwrap();
    let device = LoopDevice::of(&on_loop);
    files.extend([raw.clone(), on_loop, guest("box.qcow2")]);
    let before: Vec<String> = files.iter().map(|file| sha256(file)).collect();
    let chroot = Bivouac::new().arg("chroot").reporting();
    let chroot = [&raw, &top, device.path()]
        .iter()
        .fold(chroot, |chroot, disk| chroot.arg("--disk").arg(disk));
    let write =
        "for disk in a b c d; do dd if=/dev/zero of=/dev/vd$disk bs=1M count=60; done; sync";
    let finished = chroot
        .arg(guest("box.qcow2"))
        .args(["--", "sh", "-c", write])
        .output();
    ended(&finished, 0);
    let inspected = finished.inspected();
    let overlays = inspected["overlays"].as_array().unwrap();
    assert_eq!(overlays.len(), 4);
    for overlay in overlays {
        assert!(
            overlay["bytes"].as_u64().unwrap() > 50 << 20,
            "{inspected:#}"
        );
    }
    let after: Vec<String> = files.iter().map(|file| sha256(file)).collect();
    assert_eq!(before, after);
}

#[test]
fn ten_guests_at_a_time_write_over_one_base_and_it_is_bit_identical() {
    let base = guest("tiny.qcow2");
    let before = sha256(&base);
    let guests: Vec<_> = (0..10)
        .map(|_| Bivouac::run().args(tiny("writeall")).arg(&base).start())
        .collect();
    for mut guest in guests {
        guest.stdin = None;
        let finished = guest.wait();
        ended(&finished, 0);
        assert!(finished.stdout.contains("tiny: wrote-all"), "{finished:?}");
        assert!(!finished.stderr.contains("error"), "{finished:?}");
    }
    assert_eq!(sha256(&base), before);
}

/// A QEMU that holds the image open for writing, with QEMU's own locks on it.
struct Writer(std::process::Child);

impl Writer {
    fn of(image: &Path) -> Self {
        let node = format!(
            "driver=qcow2,node-name=disk,file.driver=file,file.filename={}",
            image.display().to_string().replace(',', ",,")
        );
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-machine", "none", "-nodefaults", "-display", "none", "-S"])
            .args(["-blockdev", &node, "-qmp", "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("QEMU starts");
        // Its greeting comes when everything is open.
        let mut greeting = [0; 16];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut greeting).unwrap();
        Self(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_image_whose_write_lock_another_qemu_holds_can_be_run_and_is_said_to_be_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let image: PathBuf = dir.path().join("busy.qcow2");
    std::fs::copy(guest("tiny.qcow2"), &image).unwrap();
    let before = sha256(&image);
    let writer = Writer::of(&image);
    let finished = Bivouac::run().args(tiny("writeall")).arg(&image).output();
    ended(&finished, 0);
    assert!(finished.stdout.contains("tiny: wrote-all"), "{finished:?}");
    assert!(
        finished.stderr.contains("being written by another process"),
        "{finished:?}"
    );
    drop(writer);
    assert_eq!(sha256(&image), before);
}
