//! Several images of one machine, for each command.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::cases::Cases;
use crate::env::filesystems::{disk, empty, filesystem, lvm, run, tree, write_files};
use crate::env::images::{LoopDevice, qemu_img};
use crate::env::residue::sha256;

const OS: &str = "ID=two\nPRETTY_NAME=two\n";

/// A system whose root is on two physical volumes, the second of them in qcow2.
fn two_volumes(dir: &Path) -> [PathBuf; 2] {
    let files = [
        ("etc/os-release", OS),
        ("etc/fstab", "/dev/my-vg/data /srv ext4 ro 0 2\n"),
        ("srv/below", "below"),
    ];
    let ext4 = |name: &str, mib, files: &[(&str, &str)]| {
        let files = tree(dir, &format!("{name}-files"), files);
        let options = ["-q", "-d", files.to_str().unwrap()];
        filesystem(dir, name, mib, "mkfs.ext4", &options)
    };
    let (root, data) = (
        ext4("root", 23, &files),
        ext4("data", 8, &[("file", "data\n")]),
    );
    let [first, second] = lvm(dir, &root, &data);
    let packed = dir.join("second.img");
    qemu_img(&["convert", "-O", "qcow2"], &[&second, &packed]);
    [first, packed]
}

#[test]
fn every_command_takes_the_other_disks_of_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = two_volumes(dir.path());
    let before = [&first, &second].map(|disk| sha256(disk));
    let image = first.to_str().unwrap();
    let other = format!("{},format=qcow2,serial=SECOND", second.display());
    let bivouac = |args: &[&str]| -> Finished {
        let (command, rest) = args.split_first().unwrap();
        let bivouac = Bivouac::new().args([command, "--disk", other.as_str()]);
        bivouac.args(rest).output()
    };
    let at = |path: &str| format!("{image}:{path}");
    let mut cases = Cases::default();
    let mut printed = |name: &str, args: &[&str], expected: &str| {
        cases.case(name, || {
            let done = bivouac(args);
            assert_eq!(
                (done.code(), &*done.stdout),
                (Some(0), expected),
                "{done:?}"
            );
            assert_eq!(done.stderr, "");
        });
    };
    printed("cat", &["cat", &at("/etc/os-release")], OS);
    printed("ls", &["ls", &at("/srv")], "file\nlost+found\n");
    printed("tail", &["tail", "-n", "1", &at("/srv/file")], "data\n");
    let out = dir.path().join("out");
    printed("cp", &["cp", &at("/srv/file"), out.to_str().unwrap()], "");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "data\n");
    // There is no program in it.
    cases.case("chroot", || {
        let done = bivouac(&["chroot", image, "--", "/bin/true"]);
        assert_eq!(done.code(), Some(127), "{done:?}");
    });
    cases.case("inspect", || {
        let done = bivouac(&["inspect", "--json", image]);
        assert_eq!(done.code(), Some(0), "{done:?}");
        let report: Value = serde_json::from_str(&done.stdout).unwrap();
        let bytes: Vec<_> = (report["disks"].as_array().unwrap().iter())
            .map(|disk| disk["bytes"].as_u64().unwrap() >> 20)
            .collect();
        assert_eq!(bytes, [40, 40], "{report:#}");
        assert_eq!(report["systems"][0]["mounts"][1]["target"], "/srv");
    });
    cases.case("df of one system", || {
        let done = bivouac(&["df", "--csv", "--root", "/dev/mapper/my--vg-root", image]);
        assert_eq!(done.code(), Some(0), "{done:?}");
        let lines = done.stdout.lines().skip(1);
        let devices: Vec<_> = lines.map(|line| line.split(',').nth(1).unwrap()).collect();
        assert_eq!(
            devices,
            ["/dev/mapper/my--vg-root", "/dev/mapper/my--vg-data"]
        );
    });
    cases.case("without the other disk", || {
        let done = Bivouac::new()
            .args(["cat", &at("/etc/os-release")])
            .output();
        assert_eq!(done.code(), Some(125), "{done:?}");
        assert!(done.stderr.contains("is missing"), "{done:?}");
    });
    cases.case("a copy of a disk is named", || {
        let done = Bivouac::new()
            .args(["inspect", "--disk", image, image])
            .output();
        assert_eq!(done.code(), Some(1), "{done:?}");
        let said = "/dev/vdb: a copy of the physical volume /dev/vda, not used";
        assert_eq!(done.stderr.matches(said).count(), 1, "{done:?}");
    });
    cases.case("the images are what they were", || {
        assert_eq!([&first, &second].map(|disk| sha256(disk)), before);
    });
}

#[test]
fn a_disk_is_mounted_by_its_serial_number_and_by_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ext4 = |name: &str, files: &[(&str, &str)]| {
        let files = tree(dir, &format!("{name}-files"), files);
        let options = ["-q", "-d", files.to_str().unwrap()];
        filesystem(dir, name, 8, "mkfs.ext4", &options)
    };
    let fstab = "/dev/disk/by-id/virtio-DATA /srv ext4 defaults 0 2\n\
                 /dev/sdb /home ext4 defaults 0 2\n";
    let keep = [("srv/.keep", ""), ("home/.keep", "")];
    let files = [&[("etc/os-release", OS), ("etc/fstab", fstab)], &keep[..]].concat();
    let [root, home, data] = [
        ext4("root", &files),
        ext4("home", &[("file", "home\n")]),
        ext4("data", &[("file", "data\n")]),
    ];
    let done = Bivouac::new()
        .arg("cat")
        .args(["--disk", home.to_str().unwrap()])
        .args(["--disk", &format!("{},serial=DATA", data.display())])
        .arg(format!("{}:/home/file", root.display()))
        .arg(format!("{}:/srv/file", root.display()))
        .output();
    assert_eq!(
        (done.code(), &*done.stdout, &*done.stderr),
        (Some(0), "home\ndata\n", "")
    );
}

/// Two loop devices that hold one btrfs, of two mirrors, with a system on it.
fn mirrored(dir: &Path) -> [PathBuf; 2] {
    let disks = ["left", "right"].map(|name| empty(dir, name, 128));
    let loops = disks.each_ref().map(|disk| LoopDevice::of(disk));
    let devices = loops
        .each_ref()
        .map(|device| device.path().to_str().unwrap());
    let profiles = ["-q", "-d", "raid1", "-m", "raid1"];
    run("mkfs.btrfs", &[&profiles[..], &devices].concat());
    run("btrfs", &[&["device", "scan"][..], &devices].concat());
    let place = tempfile::tempdir().unwrap();
    let target = place.path().to_str().unwrap();
    run("mount", &[devices[0], target]);
    write_files(place.path(), &[("etc/os-release", OS), ("etc/fstab", "")]);
    run("umount", &[target]);
    run(
        "btrfs",
        &[&["device", "scan", "--forget"][..], &devices].concat(),
    );
    disks
}

#[test]
fn a_btrfs_over_two_disks_is_one_and_half_of_it_is_read_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let disks = mirrored(dir.path());
    let before = disks.each_ref().map(|disk| sha256(disk));
    let run = |command: &str, image: &str, others: &[&Path]| {
        let bivouac = Bivouac::new().args([command, image]);
        let add = |bivouac: Bivouac, other: &&Path| bivouac.arg("--disk").arg(other);
        others.iter().fold(bivouac, add).output()
    };
    let [left, right] = disks.each_ref().map(|disk| disk.as_path());
    let mut cases = Cases::default();
    cases.case("both", || {
        let done = run("df", left.to_str().unwrap(), &[right]);
        assert_eq!((done.code(), &*done.stderr), (Some(0), ""), "{done:?}");
        assert_eq!(done.stdout.lines().count(), 2, "{done:?}");
        let place = format!("{}:/etc/os-release", right.display());
        let done = run("cat", &place, &[left]);
        assert_eq!((done.code(), &*done.stdout), (Some(0), OS), "{done:?}");
    });
    for half in [left, right] {
        cases.case(&format!("only {}", half.display()), || {
            let said = "is incomplete: 1 of its 2 devices is here";
            let done = run("cat", &format!("{}:/etc/os-release", half.display()), &[]);
            assert_eq!((done.code(), &*done.stdout), (Some(0), OS), "{done:?}");
            assert!(done.stderr.contains(said), "{done:?}");
            for command in ["inspect", "df"] {
                let done = run(command, half.to_str().unwrap(), &[]);
                assert_eq!(done.code(), Some(1), "{done:?}");
                assert!(done.stderr.contains(said), "{done:?}");
                assert!(done.stdout.contains("btrfs"), "{done:?}");
            }
        });
    }
    cases.case("the images are what they were", || {
        assert_eq!(disks.each_ref().map(|disk| sha256(disk)), before);
    });
}

/// The disk and its first partition hold one filesystem, and the second serves to boot it.
#[test]
fn an_iso_for_sticks_too_is_one_filesystem() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let efi = filesystem(dir, "efi", 2, "mkfs.vfat", &[]);
    let files = tree(dir, "files", &[("file", "on the disc\n")]);
    let image = dir.join("hybrid.iso");
    let paths = [&efi, &image, &files].map(|path| path.to_str().unwrap());
    let [efi, image, files] = paths;
    let own = ["-as", "mkisofs", "-quiet", "-V", "CORE", "-R", "-o", image];
    let hybrid = [
        "-partition_offset",
        "16",
        "-append_partition",
        "2",
        "0xef",
        efi,
        files,
    ];
    run("xorriso", &[&own[..], &hybrid].concat());
    let done = Bivouac::new()
        .args(["cat", &format!("{image}:/file")])
        .output();
    assert_eq!(
        (done.code(), &*done.stdout),
        (Some(0), "on the disc\n"),
        "{done:?}"
    );
    let done = Bivouac::new().args(["df", "--csv", image]).output();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let kinds: Vec<_> = (done.stdout.lines().skip(1))
        .map(|line| line.split(',').nth(2).unwrap())
        .collect();
    assert_eq!(kinds, ["iso9660", "vfat"], "{done:?}");
}

#[test]
fn copies_of_one_filesystem_are_all_shown_and_never_chosen_from() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let part =
        |name: &str, program: &str, args: &[&str], mib| filesystem(dir, name, mib, program, args);
    let uuid = "11111111-2222-3333-4444-555555555555";
    let ext4 = |name: &str| {
        let files = tree(dir, &format!("{name}-files"), &[(name, "")]);
        let options = ["-q", "-U", uuid, "-d", files.to_str().unwrap()];
        part(name, "mkfs.ext4", &options, 20)
    };
    let btrfs = part("btrfs", "mkfs.btrfs", &["-q"], 120);
    let script = "label: gpt\nstart=1MiB, size=20MiB\nstart=21MiB, size=20MiB\n\
                  start=41MiB, size=120MiB\nstart=161MiB, size=120MiB\n";
    let parts = [
        (1, &*ext4("a")),
        (21, &*ext4("b")),
        (41, &*btrfs),
        (161, &*btrfs),
    ];
    let image = disk(dir, "copies", 300, script, &parts);
    let image = image.to_str().unwrap();
    let mut cases = Cases::default();
    cases.case("df", || {
        let done = Bivouac::new().args(["df", "--csv", image]).output();
        assert_eq!(done.code(), Some(0), "{done:?}");
        let used = done.stdout.lines().filter(|line| line.contains(",false,"));
        assert_eq!(used.count(), 4, "{done:?}");
    });
    cases.case("inspect", || {
        let done = Bivouac::new().args(["inspect", image]).output();
        assert_eq!(done.code(), Some(0), "{done:?}");
        assert_eq!(done.stdout.matches(" used").count(), 4, "{done:?}");
    });
    cases.case("ls", || {
        let done = Bivouac::new().args(["ls", image]).output();
        assert_eq!(done.code(), Some(125), "{done:?}");
        let list = "/dev/vda1  ext4\n  /dev/vda2  ext4\n  /dev/vda3  btrfs\n  /dev/vda4  btrfs\n";
        assert!(done.stderr.contains(list), "{done:?}");
        let done = Bivouac::new()
            .args(["ls", "--root", "/dev/vda2", image])
            .output();
        assert_eq!(done.stdout, "b\nlost+found\n", "{done:?}");
    });
}
