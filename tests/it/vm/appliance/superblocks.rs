//! What the agent reads in superblocks and partition tables, against util-linux's blkid.

use std::fs::File;
use std::path::Path;

use bivouac::agent::block::device_reader::Device;
use bivouac::agent::block::{partitions, superblock};
use bivouac::protocol::disks::TableKind;

use crate::env::filesystems::{disk, empty, filesystem, lvm, run, tree};

fn device(path: &Path) -> Device {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    Device { file, size }
}

/// `KEY` in what blkid says of a file.
fn blkid(path: &Path, key: &str) -> Option<String> {
    let said = run("blkid", &["-p", "-o", "export", path.to_str().unwrap()]);
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    // It escapes for a shell.
    line.map(|value| value.replace("\\ ", " "))
}

#[track_caller]
fn agrees(path: &Path) {
    let found = superblock::probe(&device(path)).unwrap_or_else(|| panic!("{path:?}"));
    let kind = serde_json::to_value(found.kind).unwrap();
    let kind = match kind.as_str().unwrap() {
        "luks" => "crypto_LUKS",
        "lvm" => "LVM2_member",
        other => other,
    };
    assert_eq!(blkid(path, "TYPE").as_deref(), Some(kind));
    assert_eq!(blkid(path, "UUID"), found.uuid, "{kind}");
    assert_eq!(blkid(path, "LABEL"), found.label, "{kind}");
}

#[test]
fn kinds_identifiers_and_labels_are_those_that_blkid_finds() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let made: [(&str, u64, &str, &[&str]); 14] = [
        ("ext2", 8, "mkfs.ext2", &["-q", "-L", "a label"]),
        ("ext3", 8, "mkfs.ext3", &["-q"]),
        ("ext4", 16, "mkfs.ext4", &["-q", "-L", "sixteen letters!"]),
        ("xfs", 300, "mkfs.xfs", &["-q", "-L", "twelve chars"]),
        ("btrfs", 120, "mkfs.btrfs", &["-q", "-L", "b"]),
        ("fat12", 2, "mkfs.vfat", &["-F", "12", "-n", "TWELVE"]),
        ("fat16", 16, "mkfs.vfat", &["-F", "16"]),
        ("fat32", 64, "mkfs.vfat", &["-F", "32", "-n", "EFI PART"]),
        ("exfat", 16, "mkfs.exfat", &["-L", "Ex Fat"]),
        ("ntfs", 16, "mkntfs", &["-q", "-F"]),
        ("f2fs", 64, "mkfs.f2fs", &["-q", "-l", "flash"]),
        ("swap", 16, "mkswap", &["-q", "-L", "swap"]),
        (
            "luks1",
            16,
            "cryptsetup",
            &[
                "luksFormat",
                "-q",
                "--type",
                "luks1",
                "--iter-time",
                "1",
                "--key-file",
                "/proc/version",
            ],
        ),
        (
            "luks2",
            32,
            "cryptsetup",
            &[
                "luksFormat",
                "-q",
                "--type",
                "luks2",
                "--pbkdf",
                "pbkdf2",
                "--iter-time",
                "1",
                "--label",
                "secret",
                "--key-file",
                "/proc/version",
            ],
        ),
    ];
    for (name, mib, program, args) in made {
        agrees(&filesystem(dir, name, mib, program, args));
    }
    let files = tree(dir, "files", &[("a", "b")]);
    let (files, out) = (files.to_str().unwrap(), dir.join("made"));
    let out = out.to_str().unwrap();
    for (program, args) in [
        ("mksquashfs", vec![files, out, "-quiet", "-no-progress"]),
        ("mkfs.erofs", vec!["--quiet", out, files]),
        (
            "genisoimage",
            vec!["-quiet", "-V", "A CD", "-o", out, files],
        ),
    ] {
        let _ = std::fs::remove_file(out);
        run(program, &args);
        agrees(Path::new(out));
    }
    let data = empty(dir, "data", 23);
    for volume in lvm(dir, &data, &data) {
        agrees(&volume);
    }
}

#[test]
fn partition_types_names_and_identifiers_are_those_that_sfdisk_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let gpt = disk(
        dir.path(),
        "gpt",
        64,
        "label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\n\
         size=1MiB, type=U, name=esp\n\
         size=2MiB, type=L, name=\"Système\", uuid=0AC6A1E0-5A5D-4E4B-8A0C-3D6D0F5B9E11\n",
        &[],
    );
    let (table, entries) = partitions::read(&device(&gpt), 512).unwrap();
    assert_eq!(table.kind, TableKind::Gpt);
    assert_eq!(table.id, "11111111-2222-3333-4444-555555555555");
    assert_eq!(
        entries[&1].kind.as_deref(),
        Some("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    );
    assert_eq!(entries[&2].label.as_deref(), Some("Système"));
    assert_eq!(
        entries[&2].uuid.as_deref(),
        Some("0ac6a1e0-5a5d-4e4b-8a0c-3d6d0f5b9e11")
    );

    let mbr = disk(
        dir.path(),
        "mbr",
        64,
        "label: dos\nlabel-id: 0xcafe0001\nsize=1MiB, type=83\nsize=40MiB, type=5\n\
         size=1MiB, type=82\n5: size=1MiB, type=83\n6: size=1MiB, type=8e\n",
        &[],
    );
    let (table, entries) = partitions::read(&device(&mbr), 512).unwrap();
    assert_eq!((table.kind, &*table.id), (TableKind::Mbr, "cafe0001"));
    let kinds: Vec<_> = entries
        .iter()
        .map(|(number, entry)| (*number, entry.kind.as_deref().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            (1, "0x83"),
            (2, "0x05"),
            (3, "0x82"),
            (5, "0x83"),
            (6, "0x8e")
        ]
    );
    assert_eq!(entries[&6].uuid.as_deref(), Some("cafe0001-06"));
}
