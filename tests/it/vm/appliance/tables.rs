//! What the agent reads in partition tables, against sfdisk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bivouac::block::device_reader::Device;
use bivouac::block::tables;
use bivouac::protocol::disks::TableKind;

use crate::env::filesystems::{disk, run};

pub fn device(path: &Path) -> Device {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    Device { file, size }
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
