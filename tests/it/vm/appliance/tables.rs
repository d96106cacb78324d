//! What the agent reads in partition tables, against sfdisk, partx (which asks libblkid, as blkid
//! does) and parted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bivouac::block::device_reader::Device;
use bivouac::block::tables::{self, Table};
use serde_json::Value;

use super::tables_made::{By, TABLES, make};
use crate::env::cases::Cases;
use crate::env::filesystems::{disk, run};

pub fn device(path: &Path) -> Device {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    Device { file, size }
}

fn read(path: &Path) -> Option<Table> {
    tables::read(&device(path), 512, false)
}

/// A partition: number, start, size, type, PARTUUID and name; empty where there is none. Sizes are
/// in sectors.
type Line = [String; 6];

/// Types as `0x83`, or in lower case.
fn kind(text: &str) -> String {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match u32::from_str_radix(digits, 16) {
        Ok(number) => format!("{number:#04x}"),
        Err(_) => text.to_lowercase(),
    }
}

fn agent(table: &Table) -> Vec<Line> {
    let mut parts: Vec<_> = table.partitions.iter().collect();
    parts.sort_by_key(|part| part.number);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let line = |part: &tables::Entry| {
        let (start, size) = (part.start / 512, part.bytes / 512);
        let numbers = [u64::from(part.number), start, size].map(|number| number.to_string());
        let [number, start, size] = numbers;
        [
            number,
            start,
            size,
            kind(&text(&part.kind)),
            text(&part.uuid),
            text(&part.label),
        ]
    };
    parts.into_iter().map(line).collect()
}

fn sfdisk(path: &Path) -> Vec<Line> {
    let said = run("sfdisk", &["--json", path.to_str().unwrap()]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let table = &said["partitiontable"];
    let is_gpt = table["label"] == "gpt";
    let id = table["id"].as_str().unwrap_or_default();
    let parts = table["partitions"].as_array().unwrap().iter();
    let line = |part: &Value| {
        let node = part["node"].as_str().unwrap();
        let number: u32 = node[path.to_str().unwrap().len()..].parse().unwrap();
        let text = |key: &str| part[key].as_str().unwrap_or_default().to_owned();
        let uuid = match (table["label"].as_str().unwrap(), is_gpt) {
            (_, true) => text("uuid").to_lowercase(),
            ("dos", _) => format!("{}-{number:02x}", id.trim_start_matches("0x")),
            _ => String::new(),
        };
        let (start, size) = (part["start"].to_string(), part["size"].to_string());
        [
            number.to_string(),
            start,
            size,
            kind(&text("type")),
            uuid,
            text("name"),
        ]
    };
    let mut lines: Vec<_> = parts.map(line).collect();
    lines.sort_by_key(|line| line[0].parse::<u32>().unwrap());
    lines
}

fn partx(path: &Path) -> Vec<Line> {
    let columns = "NR,START,SECTORS,TYPE,UUID,NAME";
    let said = run(
        "partx",
        &["-b", "-P", "-o", columns, path.to_str().unwrap()],
    );
    let line = |line: &str| {
        let mut values = line.split('"').skip(1).step_by(2).map(str::to_owned);
        let mut fields: Line = std::array::from_fn(|_| values.next().unwrap());
        fields[3] = kind(&fields[3]);
        fields
    };
    let mut lines: Vec<_> = said.lines().map(line).collect();
    lines.sort_by_key(|line| line[0].parse::<u32>().unwrap());
    lines
}

/// Numbers and places only.
fn parted(path: &Path) -> Vec<[String; 3]> {
    let command = ["-s", "-m", path.to_str().unwrap(), "unit", "s", "print"];
    let said = run("parted", &command);
    let line = |line: &str| {
        let mut fields = line
            .split(':')
            .map(|field| field.trim_end_matches('s').to_owned());
        let [number, start, _, size] = std::array::from_fn(|_| fields.next().unwrap());
        [number, start, size]
    };
    said.lines().skip(2).map(line).collect()
}

#[test]
fn partitions_are_those_that_other_tools_read_in_every_sort_of_table() {
    assert!(TABLES.len() >= 30);
    let dir = tempfile::tempdir().unwrap();
    let mut cases = Cases::default();
    for made in TABLES {
        cases.case(made.name, || {
            let path = make(dir.path(), made);
            let table = read(&path).expect("a table");
            assert_eq!(table.warnings, [""; 0]);
            let lines = agent(&table);
            assert!(!lines.is_empty());
            match made.by {
                By::Both => {
                    assert_eq!(lines, sfdisk(&path));
                    assert_eq!(lines, partx(&path));
                }
                By::Sfdisk => assert_eq!(lines, sfdisk(&path)),
                By::Partx => assert_eq!(lines, partx(&path)),
                By::Parted => {
                    let places = lines.iter().map(|line| line[..3].to_vec());
                    let places: Vec<_> = places.collect();
                    assert_eq!(places, parted(&path));
                }
            }
        });
    }
}

#[test]
fn a_table_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::env::filesystems::empty(dir.path(), "pc98", 64);
    let name = path.to_str().unwrap();
    run(
        "parted",
        &[
            "-s", name, "mklabel", "pc98", "mkpart", "primary", "4MiB", "12MiB",
        ],
    );
    let table = read(&path).unwrap();
    assert_eq!(
        table.warnings,
        ["the partitions of its PC-98 partition table are not read"]
    );
    // Nor is anything made up in what has none.
    run("parted", &["-s", name, "mklabel", "loop"]);
    assert_eq!(read(&path), None);
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
