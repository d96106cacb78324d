//! What an image boots by; and images whose boot loader or firmware waits for a person, or finds nothing
//! to boot, under a command: that is told at once.

use std::path::{Path, PathBuf};

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::cases::Cases;
use crate::env::filesystems::{disk, empty, run as tool};
use crate::env::guests::guest;
use crate::env::images::qemu_img;

/// A run of a command, which nothing is injected for, that does not come to the time-out.
fn run(options: &[&str], image: &Path) -> Finished {
    let mut running = Bivouac::run()
        .args(["--boot-timeout", "600", "--via", "qga"])
        .args(options)
        .arg(image)
        .args(["--", "true"])
        .start();
    running.stdin = None;
    running.wait()
}

#[track_caller]
fn stopped(finished: &Finished, why: &str, hint: &str) {
    assert_eq!(finished.code(), Some(122), "{finished:?}");
    let why = format!("the guest did not boot: {why}");
    assert!(finished.stderr.contains(&why), "{finished:?}");
    let hint = format!("hint: {hint}");
    assert!(finished.stderr.contains(&hint), "{finished:?}");
}

/// Debian's disk.
fn debian(dir: &Path) -> PathBuf {
    let image = dir.join("debian.raw");
    let (from, to) = (guest("debian12.raw"), image.to_str().unwrap());
    tool("cp", &["--sparse=always", from.to_str().unwrap(), to]);
    image
}

/// Does `request` with its root filesystem.
fn debugfs(image: &Path, request: &str) {
    let partition = format!("{}?offset={}", image.display(), 36864 * 512);
    tool("debugfs", &["-w", "-R", request, &partition]);
}

#[test]
fn firmware_that_finds_nothing_to_boot_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut cases = Cases::default();
    cases.case("BIOS", || {
        let finished = run(&[], &empty(dir.path(), "empty.raw", 10));
        stopped(
            &finished,
            "the BIOS found nothing to boot",
            "--firmware uefi",
        );
    });
    cases.case("UEFI", || {
        let script = "label: gpt\nstart=2048, size=40960\n";
        let image = disk(dir.path(), "gpt.raw", 30, script, &[]);
        let finished = run(&["--firmware", "uefi"], &image);
        let why = "the UEFI firmware found nothing to boot";
        stopped(&finished, why, "--firmware bios");
    });
}

#[test]
fn a_boot_loader_that_waits_for_a_person_is_told_at_once() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = debian(dir.path());
    let (config, changed) = (dir.path().join("grub.cfg"), dir.path().join("changed"));
    let mut cases = Cases::default();
    cases.case("a menu", || {
        debugfs(
            &image,
            &format!("dump /boot/grub/grub.cfg {}", config.display()),
        );
        let text = std::fs::read_to_string(&config).unwrap();
        let lines = text
            .lines()
            .map(|line| match line.starts_with("set timeout=") {
                true => "set timeout=-1",
                false => line,
            });
        std::fs::write(&changed, lines.collect::<Vec<_>>().join("\n")).unwrap();
        debugfs(&image, "rm /boot/grub/grub.cfg");
        debugfs(
            &image,
            &format!("write {} /boot/grub/grub.cfg", changed.display()),
        );
        let finished = run(&[], &image);
        stopped(
            &finished,
            "GRUB waits in its menu",
            "set a timeout in its grub.cfg",
        );
    });
    cases.case("a prompt", || {
        debugfs(&image, "rm /boot/grub/grub.cfg");
        let finished = run(&[], &image);
        stopped(&finished, "GRUB waits at its prompt", "--kernel FILE");
    });
}

#[test]
fn an_image_boots_by_what_its_first_sectors_hold() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let esp = "label: gpt\nstart=2048, size=40960, type=U\n";
    let image = disk(dir, "esp.raw", 30, esp, &[]);
    let packed = dir.join("esp.qcow2");
    qemu_img(&["convert", "-c", "-O", "qcow2"], &[&image, &packed]);
    let other = dir.join("esp.vdi");
    qemu_img(&["convert", "-O", "vdi"], &[&image, &other]);
    let both = disk(dir, "both.raw", 30, esp, &[]);
    let mut bytes = std::fs::read(&both).unwrap();
    bytes[0] = 0xeb;
    std::fs::write(&both, bytes).unwrap();
    let neither = empty(dir, "neither.raw", 10);
    let mut cases = Cases::default();
    for (image, options, is_uefi, why) in [
        (
            &image,
            &[][..],
            true,
            "a boot loader for UEFI, but none for the BIOS",
        ),
        (
            &packed,
            &[],
            true,
            "a boot loader for UEFI, but none for the BIOS",
        ),
        (&other, &[], false, "its boot sectors were not read"),
        (&both, &[], false, "its first sector holds code"),
        (&neither, &[], false, "neither for the BIOS nor for UEFI"),
        (&image, &["--firmware", "bios"], false, ""),
        (&image, &["--kernel", "/proc/self/exe"], false, ""),
    ] {
        cases.case(&format!("{} {options:?}", image.display()), || {
            let run = Bivouac::run().args(["--verbose", "--dry-run"]);
            let finished = run.args(options).arg(image).output();
            assert_eq!(finished.code(), Some(0), "{finished:?}");
            let command = &finished.stdout;
            assert_eq!(command.contains("pflash0="), is_uefi, "{finished:?}");
            assert!(finished.stderr.contains(why), "{finished:?}");
        });
    }
}

/// SeaBIOS would run the zeros for ever.
#[test]
fn a_first_sector_without_code_is_not_even_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut cases = Cases::default();
    for (kind, hint) in [("U", "--firmware uefi"), ("L", "--kernel FILE")] {
        cases.case(kind, || {
            let script = format!("label: gpt\nstart=2048, size=40960, type={kind}\n");
            let image = disk(dir.path(), "disk.raw", 30, &script, &[]);
            let finished = run(&["--firmware", "bios"], &image);
            let why = "its first sector holds no code for the BIOS";
            stopped(&finished, why, hint);
        });
    }
}
