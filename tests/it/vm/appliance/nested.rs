//! Partition tables inside of logical volumes, arrays and partitions: disks of virtual machines.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::survey::survey;
use crate::env::cases::Cases;
use crate::env::filesystems::{disk, filesystem, lvm, mirror, physical_volume, tree};

/// An ext4 of so many MiB, with a system called `name`.
fn system(dir: &Path, name: &str, mib: u64) -> PathBuf {
    let release = format!("ID={name}\n");
    let files = tree(
        dir,
        &format!("{name}-files"),
        &[("etc/os-release", &release)],
    );
    let options = ["-q", "-d", files.to_str().unwrap()];
    filesystem(dir, name, mib, "mkfs.ext4", &options)
}

/// A disk with an empty partition and, behind it, a system of 12 MiB.
fn guest(dir: &Path, name: &str, mib: u64) -> PathBuf {
    let root = system(dir, name, 12);
    let script = "label: gpt\nstart=1MiB, size=1MiB\n3: start=3MiB, size=12MiB\n";
    disk(dir, &format!("{name}-disk"), mib, script, &[(3, &root)])
}

#[test]
fn partitions_inside_of_volumes_are_mapped_and_their_systems_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // The volume `data` holds a logical partition.
    let small = system(dir, "inlogical", 4);
    let script = "label: dos\nstart=1MiB, size=7MiB, type=5\n5: start=2MiB, size=4MiB, type=83\n";
    let data = disk(dir, "data", 8, script, &[(2, &small)]);
    let inner = system(dir, "incontainer", 12);
    let [pv0, pv1] = lvm(dir, &guest(dir, "involume", 23), &data);
    let [left, right] = mirror(dir, &guest(dir, "inarray", 16));
    let within = guest(dir, "inpartition", 16);
    let script = "label: gpt\nstart=1MiB, size=16MiB\nstart=17MiB, size=12MiB\n";
    let outer = disk(dir, "outer", 32, script, &[(1, &within), (17, &inner)]);
    let answer = survey(dir, &[pv0, pv1, left, right, outer]);
    let mut cases = Cases::default();
    let list = |key: &str| answer["survey"][key].as_array().unwrap().clone();
    cases.case("each partition is a volume", || {
        let line = |volume: &Value| {
            let kind = volume["content"]["type"].as_str().unwrap_or("-");
            assert_eq!(volume["problem"], Value::Null, "{volume}");
            format!("{} {kind}", volume["device"].as_str().unwrap())
        };
        let mut found: Vec<_> = list("volumes").iter().map(line).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                "/dev/mapper/my--vg-data -",
                "/dev/mapper/my--vg-datap5 ext4",
                "/dev/mapper/my--vg-root -",
                "/dev/mapper/my--vg-rootp1 -",
                "/dev/mapper/my--vg-rootp3 ext4",
                "/dev/mapper/vde1p1 -",
                "/dev/mapper/vde1p3 ext4",
                "/dev/md127 -",
                "/dev/md127p1 -",
                "/dev/md127p3 ext4",
            ]
        );
    });
    cases.case("each system is found", || {
        let id = |root: &Value| root["os"]["id"].as_str().unwrap().to_owned();
        let mut ids: Vec<_> = list("roots").iter().map(id).collect();
        ids.sort_unstable();
        assert_eq!(
            ids,
            [
                "inarray",
                "incontainer",
                "inlogical",
                "inpartition",
                "involume"
            ]
        );
    });
}

#[test]
fn a_group_inside_of_a_volume_is_mapped_too() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let inner = physical_volume(dir, "guest", 14, &system(dir, "deep", 12));
    let script = "label: gpt\nstart=1MiB, size=14MiB\n";
    let image = disk(dir, "image", 20, script, &[(1, &inner)]);
    let outer = physical_volume(dir, "host", 24, &image);
    let answer = survey(dir, &[outer]);
    let root = &answer["survey"]["roots"][0];
    assert_eq!(root["device"], "/dev/mapper/guest-root", "{answer:#}");
    assert_eq!(root["os"]["id"], "deep");
}
