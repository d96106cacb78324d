//! Every bus with two disks and a CD-ROM: the guest finds the disks and writes all over them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ended, report};
use crate::env::bivouac::Bivouac;
use crate::env::guests::{guest, tiny};
use crate::env::qemu10;
use crate::env::residue::sha256;

fn writes_over_two_disks(bus: &str) {
    let dir = tempfile::tempdir().unwrap();
    let cd = dir.path().join("empty.iso");
    // The size of a CD-ROM's first sectors is all that the guest asks for.
    std::fs::write(&cd, vec![0; 1 << 20]).unwrap();
    let (first, second) = (guest("tiny.qcow2"), guest("tiny.raw"));
    let before = [sha256(&first), sha256(&second)];
    let json = dir.path().join("report.json");
    let run = Bivouac::run()
        .args(tiny("writeall"))
        .args(["--bus", bus])
        .arg(&first);
    let run = run
        .arg("--disk")
        .arg(format!("{},format=raw,serial=SECOND", second.display()));
    let finished = run
        .arg("--cdrom")
        .arg(&cd)
        .arg("--report")
        .arg(&json)
        .output();
    ended(&finished, 0);
    assert!(finished.stdout.contains("tiny: wrote-all"), "{finished:?}");
    let report = report(&json);
    for disk in 0..2 {
        let bytes = report["overlays"][disk]["bytes"].as_u64().unwrap();
        assert!(
            bytes > 1 << 20,
            "the guest wrote to disk{disk} on {bus}: {report:#}"
        );
    }
    assert_eq!(before, [sha256(&first), sha256(&second)]);
}

#[test]
fn virtio_disks_are_found_and_written() {
    writes_over_two_disks("virtio");
}

#[test]
fn scsi_disks_are_found_and_written() {
    writes_over_two_disks("scsi");
}

/// Debian's cloud kernel has no AHCI driver, so here the firmware and the boot loader do the
/// reading; the guest's own kernel then finds no disk.
#[test]
fn sata_disks_are_booted_from() {
    let base = guest("tiny.qcow2");
    let before = sha256(&base);
    let finished = Bivouac::run()
        .args(["--bus", "sata", "--memory", "256M"])
        .arg(&base)
        .output();
    ended(&finished, 0);
    assert!(
        finished.stdout.contains("Booting from Hard Disk"),
        "{finished:?}"
    );
    assert!(finished.stdout.contains("tiny: ready"), "{finished:?}");
    assert_eq!(sha256(&base), before);
}

#[test]
fn ide_disks_are_found_and_written() {
    writes_over_two_disks("ide");
}

#[test]
fn nvme_disks_are_found_and_written() {
    writes_over_two_disks("nvme");
}

/// An ISO with the tiny guest on it, which boots from a CD-ROM drive and from nothing else.
fn bootable_iso(dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::copy(guest("tiny-kernel"), tree.join("kernel")).unwrap();
    std::fs::copy(guest("tiny-initrd"), tree.join("initrd")).unwrap();
    let config = "set root=(cd)\nlinux /kernel console=ttyS0 quiet\ninitrd /initrd\nboot\n";
    std::fs::write(dir.join("grub.cfg"), config).unwrap();
    let script = "grub-mkimage -O i386-pc-eltorito -p / -c grub.cfg -o tree/boot.img \
         biosdisk iso9660 linux normal && \
         xorriso -as mkisofs -quiet -o cd.iso -b boot.img -no-emul-boot -boot-load-size 4 \
         -boot-info-table tree";
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    dir.join("cd.iso")
}

#[test]
fn an_iso_that_only_a_cdrom_drive_could_boot_is_put_into_one() {
    let dir = tempfile::tempdir().unwrap();
    let iso = bootable_iso(dir.path());
    let before = sha256(&iso);
    for arguments in [
        vec![iso.clone()],
        vec!["--cdrom".into(), iso.clone(), guest("tiny.raw")],
    ] {
        let dry = Bivouac::run().args(&arguments).arg("--dry-run").output();
        assert!(dry.stdout.contains("ide-cd,bus=sata.0"), "{dry:?}");
    }
    let finished = Bivouac::run().args(["--memory", "512M"]).arg(&iso).output();
    ended(&finished, 0);
    assert!(
        finished.stdout.contains("Booting from DVD/CD"),
        "{finished:?}"
    );
    assert!(finished.stdout.contains("tiny: ready"), "{finished:?}");
    assert_eq!(sha256(&iso), before);
}

#[test]
fn the_newer_qemu_runs_the_tiny_guest_too() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let version = Command::new(qemu10::program())
        .arg("--version")
        .output()
        .expect("QEMU 10 starts");
    assert!(
        String::from_utf8_lossy(&version.stdout).contains("version 10."),
        "{version:?}"
    );
    let before = sha256(&guest("tiny.qcow2"));
    let run = Bivouac::run()
        .args(tiny("writeall"))
        .arg(guest("tiny.qcow2"));
    let finished = run
        .args(qemu10::options())
        .arg("--report")
        .arg(&json)
        .output();
    ended(&finished, 0);
    assert!(finished.stdout.contains("tiny: wrote-all"), "{finished:?}");
    assert!(
        report(&json)["qemu_version"]
            .as_str()
            .unwrap()
            .starts_with("10.")
    );
    assert_eq!(sha256(&guest("tiny.qcow2")), before);
}
