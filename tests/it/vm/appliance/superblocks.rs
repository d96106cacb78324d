//! What the agent reads in superblocks and partition tables, against util-linux's blkid.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bivouac::block::device_reader::Device;
use bivouac::block::{superblock, tables};
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

/// What sfdisk says of a table: its kind, and each partition's number, place, size, type and name.
fn sfdisk(path: &Path) -> (String, Vec<String>) {
    let said = run("sfdisk", &["--json", path.to_str().unwrap()]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let table = &said["partitiontable"];
    let node = |part: &serde_json::Value| {
        let node = part["node"].as_str().unwrap();
        node[path.to_str().unwrap().len()..].to_owned()
    };
    let parts = table["partitions"].as_array().unwrap().iter();
    let parts = parts.map(|part| {
        let text = |key: &str| part[key].as_str().unwrap_or_default().to_lowercase();
        let (start, size) = (&part["start"], &part["size"]);
        format!(
            "{} {start} {size} {} {}",
            node(part),
            text("type"),
            text("uuid")
        )
    });
    (table["label"].as_str().unwrap().to_owned(), parts.collect())
}

#[track_caller]
fn table_agrees(path: &Path) {
    let table = tables::read(&device(path), 512, false).unwrap();
    assert_eq!(table.warnings, [""; 0], "{path:?}");
    let has_uuid = table.kind == TableKind::Gpt;
    let parts = table.partitions.iter().map(|part| {
        let kind = part.kind.as_deref().unwrap();
        // sfdisk writes numbers without a prefix.
        let kind = kind.strip_prefix("0x").map_or(kind, |digits| {
            let digits = digits.trim_start_matches('0');
            if digits.is_empty() { "0" } else { digits }
        });
        let uuid = part
            .uuid
            .as_deref()
            .filter(|_| has_uuid)
            .unwrap_or_default();
        let (start, size) = (part.start / 512, part.bytes / 512);
        format!("{} {start} {size} {kind} {uuid}", part.number)
    });
    let kind = serde_json::to_value(table.kind).unwrap();
    let kind = match kind.as_str().unwrap() {
        "mbr" => "dos",
        other => other,
    };
    assert_eq!((kind.to_owned(), parts.collect()), sfdisk(path), "{path:?}");
}

#[test]
fn partitions_are_those_that_sfdisk_reads_in_every_sort_of_table() {
    let dir = tempfile::tempdir().unwrap();
    let scripts: [(&str, &str); 8] = [
        (
            "gpt",
            "label: gpt\nsize=1MiB, type=U, name=esp\nsize=2MiB, type=L, name=\"Système\"\n",
        ),
        (
            "gaps",
            "label: gpt\n3: size=1MiB\n7: size=2MiB\n128: size=1MiB\n",
        ),
        (
            "dos",
            "label: dos\nlabel-id: 0xcafe0001\nsize=1MiB, type=83\n4: size=2MiB, type=ef\n",
        ),
        (
            "logical",
            "label: dos\nsize=1MiB, type=83\nsize=40MiB, type=5\nsize=1MiB, type=82\n\
             5: size=1MiB, type=83\n6: size=1MiB, type=8e\n7: size=2MiB, type=6\n",
        ),
        (
            "extended",
            "label: dos\n2: size=20MiB, type=f\n5: size=1MiB\n6: size=1MiB\n",
        ),
        ("sun", "label: sun\nsize=8MiB\nsize=16MiB\n"),
        ("sgi", "label: sgi\nstart=20480, size=20480\nsize=8MiB\n"),
        ("empty", "label: gpt\n"),
    ];
    for (name, script) in scripts {
        if name != "empty" {
            table_agrees(&disk(dir.path(), name, 64, script, &[]));
        }
    }
}

#[test]
fn a_gpt_is_read_by_whichever_copy_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let script = "label: gpt\nsize=1MiB, type=U\nstart=8192, size=8MiB\n";
    let whole = disk(dir.path(), "whole", 64, script, &[]);
    let expected = tables::read(&device(&whole), 512, false).unwrap();
    let damaged = |name: &str, damage: &dyn Fn(&File)| {
        let path = dir.path().join(name);
        std::fs::copy(&whole, &path).unwrap();
        damage(&File::options().write(true).open(&path).unwrap());
        tables::read(&device(&path), 512, false).unwrap()
    };
    let zeros = |at| move |file: &File| file.write_all_at(&[0; 512], at).unwrap();
    let lost = damaged("primary", &zeros(512));
    assert_eq!(lost.partitions, expected.partitions);
    assert!(lost.evidence.unwrap().contains("backup"));
    let backup = damaged("backup", &zeros((64 << 20) - 512));
    assert_eq!(backup, expected);
    let bare = damaged("protective", &zeros(0));
    assert_eq!(bare.partitions, expected.partitions);
    assert_eq!(bare.warnings, ["its protective MBR is missing"]);
    let cut = damaged("cut", &|file| file.set_len(8 << 20).unwrap());
    assert_eq!(cut.partitions, expected.partitions);
    assert_eq!(cut.warnings.len(), 2, "{:?}", cut.warnings);
    let both = damaged("both", &|file| {
        zeros(512 + 16)(file);
        file.write_all_at(b"EFI PART", 512).unwrap();
        zeros((64 << 20) - 512)(file);
    });
    assert!(
        both.partitions.is_empty() && both.warnings.len() == 1,
        "{both:?}"
    );
    // What a former use of a disk left at its end is no table of a file system.
    let former = damaged("former", &|file| {
        zeros(0)(file);
        zeros(512)(file);
    });
    assert!(!former.partitions.is_empty());
    let path = dir.path().join("former");
    assert_eq!(tables::read(&device(&path), 512, true), None);
}
