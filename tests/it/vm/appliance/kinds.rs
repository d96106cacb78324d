//! Every kind of filesystem that can be made here, each in a partition of one disk: named, and
//! mounted if the appliance's kernel has the driver, else refused with the reason and a hint.

use std::fs;
use std::path::{Path, PathBuf};

use bivouac::host::kernel;
use bivouac::protocol::disks::Kind;
use serde_json::Value;

use super::superblocks::{blkid, name_of_blkid};
use crate::env::bivouac::Bivouac;
use crate::env::cases::Cases;
use crate::env::filesystems::{MIB, disk};
use crate::env::formats::{self, Made};

/// A disk with a partition for each.
fn all_in_one(dir: &Path, made: &[Made]) -> PathBuf {
    let mut script = "label: gpt\n".to_owned();
    let mut places: Vec<(u64, &Path)> = Vec::new();
    let mut at = 1;
    for made in made {
        let sectors = fs::metadata(&made.path).unwrap().len() / 512;
        script += &format!("start={at}MiB, size={sectors}\n");
        places.push((at, &made.path));
        at += (sectors * 512).div_ceil(MIB);
    }
    disk(dir, "all", at + 1, &script, &places)
}

/// Whether the kernel of this host has one of these modules, or has it built in.
fn has_module(names: &[&str]) -> bool {
    let modules = kernel::find(None).unwrap().modules.unwrap();
    let lists = ["modules.dep", "modules.builtin"];
    let lists = lists.map(|list| fs::read_to_string(modules.join(list)).unwrap());
    let mut files = lists.iter().flat_map(|list| list.lines());
    files.any(|line| {
        let file = line.split(':').next().unwrap();
        names
            .iter()
            .any(|name| file.contains(&format!("/{name}.ko")))
    })
}

fn has_driver(kind: &str) -> bool {
    match kind {
        "ext2" | "ext3" => has_module(&["ext4"]),
        "ntfs" => has_module(&["ntfs3", "ntfs"]),
        "iso9660" => has_module(&["isofs"]),
        // Its driver is for flash memory.
        "ubifs" => false,
        other => has_module(&[other]),
    }
}

fn is_filesystem(kind: &str) -> bool {
    let mut kinds = Kind::ALL.iter().filter(|kind| kind.is_filesystem());
    kinds.any(|one| one.name() == kind)
}

#[test]
fn every_filesystem_is_named_and_listed_or_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let made = formats::all(dir.path());
    let image = all_in_one(dir.path(), &made);
    let inspected = Bivouac::new()
        .args(["inspect", "--json"])
        .arg(&image)
        .output();
    let said: Value = serde_json::from_str(&inspected.stdout)
        .unwrap_or_else(|error| panic!("{error}: {inspected:?}"));
    let partitions = said["disks"][0]["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), made.len());
    let mut cases = Cases::default();
    for (made, partition) in made.iter().zip(partitions) {
        let content = &partition["content"];
        let kind = content["type"].as_str().unwrap_or_default();
        cases.case(made.name, || {
            let text = |key: &str| content[key].as_str().map(str::to_owned);
            let named = (name_of_blkid(kind).to_owned(), text("uuid"), text("label"));
            let path = &made.path;
            let expected = (
                blkid(path, "TYPE").unwrap(),
                blkid(path, "UUID"),
                blkid(path, "LABEL"),
            );
            assert_eq!(named, expected);
            let device = partition["device"].as_str().unwrap();
            let listed = || {
                let ls = Bivouac::new().arg("ls").args(["--root", device]);
                ls.arg(&image).output()
            };
            let error = content["error"].as_str().unwrap_or_default();
            if !is_filesystem(kind) {
                assert_eq!(content["size"], Value::Null, "{content}");
            } else if made.name == "ufs2" {
                // The kernel takes what FreeBSD makes, and not what makefs makes.
                assert!(error.contains("(the kernel said: "), "{content}");
            } else if has_driver(kind) {
                assert!(content["size"].as_u64().is_some(), "{content}");
                if made.has_file {
                    let listed = listed();
                    assert_eq!(listed.code(), Some(0), "{listed:?}");
                    let mut names = listed.stdout.lines();
                    assert!(
                        names.any(|name| name.eq_ignore_ascii_case("a")),
                        "{listed:?}"
                    );
                }
            } else {
                let reason = format!("the appliance's kernel has no {kind} driver");
                assert!(error.contains(&reason), "{content}");
                let listed = listed();
                assert_eq!(listed.code(), Some(125), "{listed:?}");
                assert!(listed.stderr.contains(&reason), "{listed:?}");
                assert!(
                    listed.stderr.contains("hint: name another kernel"),
                    "{listed:?}"
                );
            }
        });
    }
}
