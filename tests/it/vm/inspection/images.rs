//! Images of every sort, each inspected from end to end, and each as it was afterwards: file
//! systems, partition tables, volumes, an ISO, a huge disk, chains and block devices.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::env::bivouac::Bivouac;
use crate::env::filesystems::{
    MIB, disk, filesystem, mounted, physical_volume, run, tree, write_files,
};
use crate::env::guests::guest;
use crate::env::images::{LoopDevice, chain_of_three, qemu_img};
use crate::env::residue::sha256;

fn files(name: &str) -> [(&'static str, String); 1] {
    [(
        "etc/os-release",
        format!("ID={name}\nPRETTY_NAME=\"{name}\"\n"),
    )]
}

fn system(dir: &Path, name: &str) -> PathBuf {
    let files = files(name);
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, &**text)).collect();
    tree(dir, &format!("{name}-files"), &files)
}

/// A filesystem of a kind that is made empty, mounted here to be filled.
fn filled(dir: &Path, name: &str, mib: u64, program: &str, args: &[&str]) -> PathBuf {
    let image = filesystem(dir, name, mib, program, args);
    mounted(&image, |root| {
        let files = files(name);
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, &**text)).collect();
        write_files(root, &files);
    });
    image
}

/// One physical volume with a root on it, behind a partition of another sort.
fn volume(dir: &Path) -> PathBuf {
    let root = system(dir, "lvm");
    let root = filesystem(
        dir,
        "lvm-root",
        20,
        "mkfs.ext4",
        &["-q", "-d", root.to_str().unwrap()],
    );
    let volume = physical_volume(dir, "rhel", 40, &root);
    let esp = filesystem(dir, "lvm-esp", 16, "mkfs.vfat", &[]);
    let script = "label: gpt\nstart=1MiB, size=16MiB, type=U\nstart=17MiB, size=40MiB\n";
    disk(dir, "lvm", 64, script, &[(1, &esp), (17, &volume)])
}

/// btrfs whose root is a subvolume, as Fedora, Ubuntu and openSUSE have it.
fn subvolume(dir: &Path) -> PathBuf {
    let image = filesystem(dir, "btrfs", 128, "mkfs.btrfs", &["-q"]);
    mounted(&image, |top| {
        let root = top.join("@");
        run(
            "btrfs",
            &["-q", "subvolume", "create", root.to_str().unwrap()],
        );
        let files = files("btrfs");
        write_files(&root, &[("etc/os-release", &files[0].1)]);
    });
    image
}

/// 1 TiB, the system at its very end.
fn huge(dir: &Path) -> PathBuf {
    const LAST: u64 = (1 << 40) - 64 * MIB;
    let root = system(dir, "huge");
    let root = filesystem(
        dir,
        "huge-root",
        32,
        "mkfs.ext4",
        &["-q", "-d", root.to_str().unwrap()],
    );
    let script = format!("label: gpt\nstart={}MiB, size=32MiB\n", LAST / MIB);
    let raw = disk(dir, "huge.img", 1 << 20, &script, &[(LAST / MIB, &root)]);
    let image = dir.join("huge");
    qemu_img(&["convert", "-O", "qcow2"], &[&raw, &image]);
    fs::remove_file(raw).unwrap();
    image
}

fn images(dir: &Path) -> Vec<(&'static str, PathBuf)> {
    let source = |name| system(dir, name).display().to_string();
    let iso = dir.join("iso");
    let options = ["-quiet", "-R", "-J", "-V", "CORE", "-o"];
    run(
        "genisoimage",
        &[&options[..], &[iso.to_str().unwrap(), &source("iso")]].concat(),
    );
    let mbr = filesystem(
        dir,
        "mbr-root",
        20,
        "mkfs.ext3",
        &["-q", "-d", &source("mbr")],
    );
    let script = "label: dos\nstart=1MiB, size=20MiB, type=83, bootable\n";
    // Not every kernel that tests run under can mount it.
    let vfat = filesystem(dir, "vfat", 40, "mkfs.vfat", &["-F", "32"]);
    let etc = format!("{}/etc", source("vfat"));
    run("mcopy", &["-s", "-i", vfat.to_str().unwrap(), &etc, "::"]);
    vec![
        (
            "whole",
            filesystem(
                dir,
                "whole",
                16,
                "mkfs.ext4",
                &["-q", "-d", &source("whole")],
            ),
        ),
        ("mbr", disk(dir, "mbr", 24, script, &[(1, &mbr)])),
        ("xfs", filled(dir, "xfs", 300, "mkfs.xfs", &["-q"])),
        ("vfat", vfat),
        ("btrfs", subvolume(dir)),
        ("lvm", volume(dir)),
        ("huge", huge(dir)),
        ("iso", iso),
    ]
}

fn cat(image: &Path) -> String {
    let place = format!("{}:/etc/os-release", image.display());
    let finished = Bivouac::new().arg("cat").arg(place).output();
    assert_eq!(
        finished.code(),
        Some(0),
        "{}: {finished:?}",
        image.display()
    );
    finished.stdout
}

#[test]
fn images_of_every_sort_are_inspected_and_stay_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    for (name, image) in images(dir.path()) {
        let before = sha256(&image);
        assert_eq!(cat(&image), files(name)[0].1, "{name}");
        assert_eq!(sha256(&image), before, "{name}");
    }
}

#[test]
fn raw_and_qcow2_chains_and_block_devices_show_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("box.raw");
    fs::copy(guest("box.raw"), &raw).unwrap();
    let chain = chain_of_three(dir.path(), &raw);
    let device = LoopDevice::of(&raw);
    let before: Vec<_> = chain
        .iter()
        .chain([&raw])
        .map(|file| sha256(file))
        .collect();
    for image in [&raw, &chain[0], &guest("box.qcow2"), device.path()] {
        assert!(cat(image).starts_with("ID=box\n"), "{}", image.display());
    }
    let after: Vec<_> = chain
        .iter()
        .chain([&raw])
        .map(|file| sha256(file))
        .collect();
    assert_eq!(after, before);
}

/// A file system that its table of blocks says is somewhere else: an error with a name, not a
/// crash and not another file's content.
#[test]
fn a_damaged_filesystem_is_an_error_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let source = system(dir.path(), "torn");
    let image = filesystem(
        dir.path(),
        "torn",
        16,
        "mkfs.ext4",
        &["-q", "-d", source.to_str().unwrap()],
    );
    let file = File::options().write(true).open(&image).unwrap();
    // The group descriptors, behind the superblock's block.
    file.write_all_at(&[0xa5; 4096], 4096).unwrap();
    file.write_all_at(&[0xa5; 1024], 2048).unwrap();
    let before = sha256(&image);
    let place = format!("{}:/etc/os-release", image.display());
    let finished = Bivouac::new().arg("cat").arg(place).output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    assert!(finished.stdout.is_empty(), "{finished:?}");
    assert!(finished.stderr.contains("bivouac: error: "), "{finished:?}");
    assert_eq!(sha256(&image), before);
}
