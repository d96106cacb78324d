//! Disks whose partition tables a kernel refuses, or counts otherwise than other tools; each holds
//! a system, which is found all the same.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::survey::{survey, survey_with};
use crate::env::cases::Cases;
use crate::env::filesystems::{MIB, disk, empty, filesystem, place, run, tree};

/// An ext4 of 12 MiB with a system called `name`, which has this fstab.
fn system(dir: &Path, name: &str, fstab: &str) -> PathBuf {
    let release = format!("ID={name}\n");
    let files = [("etc/os-release", &*release), ("etc/fstab", fstab)];
    let files = tree(dir, &format!("{name}-files"), &files);
    std::fs::create_dir(files.join("data")).unwrap();
    // Blocks are no smaller than sectors.
    let options = ["-q", "-b", "4096", "-d", files.to_str().unwrap()];
    filesystem(dir, &format!("{name}-root"), 12, "mkfs.ext4", &options)
}

fn file_of(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

/// A GPT with a system at 1 MiB.
fn gpt(dir: &Path, name: &str) -> PathBuf {
    let root = system(dir, name, "");
    let script = "label: gpt\nstart=2048, size=24576\nstart=40960, size=8192\n";
    disk(dir, name, 32, script, &[(1, &root)])
}

/// A copy of a disk with sectors of 4096 bytes.
fn large_sectors(dir: &Path) -> PathBuf {
    let image = empty(dir, "sectors", 32);
    let path = image.to_str().unwrap();
    let device = run("losetup", &["--sector-size", "4096", "-f", "--show", path]);
    let device = device.trim();
    run(
        "parted",
        &[
            "-s", device, "mklabel", "gpt", "mkpart", "a", "1MiB", "13MiB",
        ],
    );
    run("losetup", &["-d", device]);
    place(&image, MIB, &system(dir, "sectors", ""), 0, None);
    image
}

/// An MBR with logical partitions, the last of which the system in the first mounts on /data.
fn logical(dir: &Path, name: &str, number: u32) -> PathBuf {
    let fstab = format!("PARTUUID=deadbeef-{number:02} /data ext4 defaults 0 0\n");
    let root = system(dir, name, &fstab);
    let data = filesystem(dir, &format!("{name}-data"), 12, "mkfs.ext4", &["-q"]);
    let script = "label: dos\nlabel-id: 0xdeadbeef\n1: start=2048, size=24576, type=83\n\
         2: start=28672, size=102400, type=5\n5: start=30720, size=8192, type=82\n\
         6: start=40960, size=8192, type=6\n7: start=51200, size=24576, type=83\n";
    disk(dir, name, 64, script, &[(1, &root), (25, &data)])
}

/// A disk that parted makes, with a system in the last partition.
fn parted(dir: &Path, label: &str, commands: &str) -> PathBuf {
    let image = empty(dir, label, 64);
    let path = image.to_str().unwrap();
    let words: Vec<_> = ["-s", path, "mklabel", label].into_iter().collect();
    run(
        "parted",
        &[&words[..], &commands.split(' ').collect::<Vec<_>>()].concat(),
    );
    place(&image, 24 * MIB, &system(dir, label, ""), 0, None);
    image
}

fn disks(dir: &Path) -> Vec<PathBuf> {
    let no_first = gpt(dir, "nofirst");
    file_of(&no_first).write_all_at(&[0; 512], 512).unwrap();
    let no_backup = gpt(dir, "nobackup");
    file_of(&no_backup)
        .write_all_at(&[0; 512], 32 * MIB - 512)
        .unwrap();
    let no_mbr = gpt(dir, "nombr");
    file_of(&no_mbr).write_all_at(&[0; 512], 0).unwrap();
    let cut = gpt(dir, "cut");
    file_of(&cut).set_len(16 * MIB).unwrap();
    let grown = gpt(dir, "grown");
    file_of(&grown).set_len(100 * MIB).unwrap();
    let hybrid = gpt(dir, "hybrid");
    run("sgdisk", &["-h", "1:2", hybrid.to_str().unwrap()]);
    let of_type_zero = logical(dir, "typezero", 7);
    // The first record of the chain, whose partition is number 5.
    file_of(&of_type_zero)
        .write_all_at(&[0], 28672 * 512 + 446 + 4)
        .unwrap();
    let deleted = logical(dir, "deleted", 6);
    run(
        "sfdisk",
        &["-q", "--delete", deleted.to_str().unwrap(), "5"],
    );
    vec![
        large_sectors(dir),
        no_first,
        no_backup,
        no_mbr,
        cut,
        grown,
        hybrid,
        of_type_zero,
        deleted,
        parted(dir, "sun", "mkpart 8MiB 16MiB mkpart 24MiB 40MiB"),
        parted(dir, "bsd", "mkpart 4MiB 12MiB mkpart 24MiB 40MiB"),
        parted(dir, "mac", "mkpart one 4MiB 12MiB mkpart two 24MiB 40MiB"),
        parted(
            dir,
            "dvh",
            "mkpart primary 4MiB 12MiB mkpart primary 24MiB 40MiB",
        ),
        parted(
            dir,
            "amiga",
            "mkpart ext2 4MiB 12MiB mkpart ext2 24MiB 40MiB",
        ),
        parted(
            dir,
            "atari",
            "mkpart primary 4MiB 12MiB mkpart primary 24MiB 40MiB",
        ),
    ]
}

#[test]
fn the_system_is_found_whatever_is_wrong_with_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let disks = disks(dir.path());
    let answer = survey(dir.path(), &disks);
    let said = &answer["survey"];
    let roots = said["roots"].as_array().unwrap();
    let mut cases = Cases::default();
    for (index, path) in disks.iter().enumerate() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let found = &said["disks"][index];
        cases.case(name, || {
            let device = found["device"].as_str().unwrap();
            let mut ids = roots.iter().filter(|root| root["os"]["id"] == name);
            let root = ids.next().unwrap_or_else(|| panic!("{found:#}"));
            assert!(
                root["device"].as_str().unwrap().starts_with(device),
                "{root}"
            );
            let table = found["table"]["kind"].as_str().unwrap();
            let expected = match name {
                "sun" | "bsd" | "mac" | "amiga" | "atari" => name,
                "dvh" => "sgi",
                "typezero" | "deleted" => "mbr",
                _ => "gpt",
            };
            assert_eq!(table, expected);
            let warnings = said["warnings"].as_array().unwrap().iter();
            let is_named = warnings
                .filter(|warning| warning.to_string().contains(device))
                .count();
            let is_damaged = ["nofirst", "nombr", "cut"].contains(&name);
            assert_eq!(is_named > 0, is_damaged, "{}", said["warnings"]);
        });
        if expected_data(name).is_some() {
            cases.case("numbers and PARTUUIDs of logical partitions", || {
                let types = found["partitions"].as_array().unwrap().iter();
                let types: Vec<_> = types
                    .map(|part| (part["number"].clone(), part["type"].clone()))
                    .collect();
                let types: Vec<_> = types
                    .iter()
                    .map(|(number, kind)| format!("{number} {}", kind.as_str().unwrap()))
                    .collect();
                assert_eq!(types, expected_data(name).unwrap());
                let root = roots.iter().find(|root| root["os"]["id"] == name).unwrap();
                assert_eq!(root["mounts"][1]["target"], "/data", "{root:#}");
                assert_eq!(root["left_out"], Value::Array(vec![]));
            });
        }
    }
}

fn expected_data(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "typezero" => Some(&["1 0x83", "2 0x05", "5 0x00", "6 0x06", "7 0x83"]),
        "deleted" => Some(&["1 0x83", "2 0x05", "5 0x06", "6 0x83"]),
        _ => None,
    }
}

#[test]
fn udf_is_found_by_its_label_and_read_behind_an_iso_that_is_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let root = system(dir, "labelled", "LABEL=BACKUP /data udf ro 0 0\n");
    let udf = filesystem(dir, "udf", 16, "mkudffs", &["-l", "BACKUP"]);
    let script = "label: gpt\nstart=1MiB, size=12MiB\nstart=16MiB, size=16MiB\n";
    let image = disk(dir, "labels", 40, script, &[(1, &root), (16, &udf)]);
    let files = [
        ("sources/install.wim", "wim"),
        ("setup.exe", "s"),
        ("README.TXT", "needs UDF"),
    ];
    let files = tree(dir, "installer", &files);
    let iso = dir.join("iso");
    let hidden = ["-hide", "sources", "-hide", "setup.exe"];
    let places = ["-o", iso.to_str().unwrap(), files.to_str().unwrap()];
    run(
        "genisoimage",
        &[&["-quiet", "-V", "WIN", "-udf"], &hidden[..], &places[..]].concat(),
    );
    let swap = filesystem(dir, "swap", 16, "mkswap", &["-q"]);
    file_of(&swap)
        .write_all_at(b"S1SUSPEND", 4096 - 10)
        .unwrap();
    let answer = survey(dir, &[image, iso, swap]);
    let said = &answer["survey"];
    let mounts = said["roots"][0]["mounts"].as_array().unwrap();
    assert_eq!(mounts[1]["kind"], "udf", "{answer:#}");
    assert_eq!(said["disks"][1]["content"]["type"], "udf");
    assert_eq!(said["disks"][2]["content"]["type"], "swsuspend");
    let warnings = said["warnings"].to_string();
    assert!(warnings.contains("a hibernated system"), "{warnings}");
}

#[test]
fn a_disk_has_the_sectors_that_its_option_says() {
    let dir = tempfile::tempdir().unwrap();
    let image = large_sectors(dir.path());
    let evidence = |options: &str| {
        let answer = survey_with(dir.path(), std::slice::from_ref(&image), options);
        let said = &answer["survey"];
        assert_eq!(said["roots"][0]["os"]["id"], "sectors", "{answer:#}");
        said["disks"][0]["table"]["evidence"].clone()
    };
    assert_eq!(evidence(""), "it counts in sectors of 4096 bytes");
    assert_eq!(evidence(",sector-size=4096"), Value::Null);
}
