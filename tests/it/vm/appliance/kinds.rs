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
use crate::env::filesystems::{MIB, disk, filesystem, run};
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
    let named = std::env::var_os("BIVOUAC_KERNEL").map(PathBuf::from);
    let modules = kernel::find(named.as_deref()).unwrap().modules.unwrap();
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

/// What `inspect` says of an image.
fn inspected(image: &Path) -> Value {
    let finished = Bivouac::new()
        .args(["inspect", "--json"])
        .arg(image)
        .output();
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[test]
fn every_filesystem_is_named_and_listed_or_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let made = formats::all(dir.path());
    let image = all_in_one(dir.path(), &made);
    let said = inspected(&image);
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

/// The options of `mkfs.ext4`, and the size in MiB.
const EXT4: &[(&[&str], u64)] = &[
    (&["-O", "casefold", "-E", "encoding=utf8"], 16),
    (&["-O", "inline_data"], 16),
    (&["-O", "bigalloc"], 16),
    (&["-O", "metadata_csum_seed"], 16),
    (&["-O", "orphan_file"], 16),
    (&["-O", "large_dir,ea_inode"], 16),
    (&["-O", "encrypt"], 16),
    (&["-O", "project,quota"], 16),
    (&["-O", "^has_journal"], 16),
    (&["-I", "128"], 16),
    (&["-O", "^metadata_csum,uninit_bg"], 16),
    (&["-O", "mmp"], 16),
    (&["-O", "fast_commit"], 64),
    (&["-O", "meta_bg,^resize_inode"], 16),
];

/// Those of `mkfs.vfat`.
const FAT: &[&[&str]] = &[
    &["-F", "32", "-S", "4096"],
    &["-F", "16", "-S", "2048"],
    &["-F", "32", "--mbr=yes"],
    &["-F", "12", "-s", "128"],
];

#[test]
fn every_variant_of_ext4_and_fat_is_mounted_and_what_is_damaged_has_the_kernels_reason() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut made = Vec::new();
    let mut names = Vec::new();
    let made_of = |path| Made {
        name: "",
        path,
        has_file: false,
    };
    for (options, mib) in EXT4 {
        let name = options.join(" ");
        let options = [&["-q"], *options].concat();
        let file = format!("ext4-{}", made.len());
        made.push(made_of(filesystem(dir, &file, *mib, "mkfs.ext4", &options)));
        names.push((name, None));
    }
    for options in FAT {
        let file = format!("fat-{}", made.len());
        made.push(made_of(filesystem(dir, &file, 200, "mkfs.vfat", options)));
        names.push((options.join(" "), None));
    }
    let large = ["-q", "-F", "-b", "65536"];
    made.push(made_of(filesystem(dir, "large", 64, "mkfs.ext4", &large)));
    names.push(("blocks of 64 KiB".to_owned(), Some("bad block size 65536")));
    let cut = filesystem(dir, "cut", 16, "mkfs.ext4", &["-q"]);
    fs::File::options()
        .write(true)
        .open(&cut)
        .unwrap()
        .set_len(12 * MIB)
        .unwrap();
    made.push(made_of(cut));
    names.push(("cut short".to_owned(), Some("exceeds size of device")));
    let broken = filesystem(dir, "broken", 300, "mkfs.xfs", &["-q"]);
    let needs_repair = ["-x", "-c", "sb 0", "-c", "write -d features_incompat 0x1b"];
    run(
        "xfs_db",
        &[&needs_repair[..], &[broken.to_str().unwrap()]].concat(),
    );
    made.push(made_of(broken));
    names.push(("needs repair".to_owned(), Some("needs repair")));
    let image = all_in_one(dir, &made);
    let said = inspected(&image);
    let partitions = said["disks"][0]["partitions"].as_array().unwrap();
    let mut cases = Cases::default();
    for ((name, reason), partition) in names.iter().zip(partitions) {
        cases.case(name, || {
            let content = &partition["content"];
            let error = content["error"].as_str();
            match reason {
                Some(reason) => assert!(error.unwrap().contains(reason), "{content}"),
                None => assert!(content["size"].as_u64() > Some(0), "{content}"),
            }
        });
    }
}
