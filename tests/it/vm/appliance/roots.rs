//! Which systems the agent finds on real filesystems, and what it would mount for each: one boot
//! surveys a disk for each situation.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::survey::survey;
use crate::env::cases::Cases;
use crate::env::deployments;
use crate::env::filesystems::{disk, filesystem, mounted, run, tree, write_files};

const ROOT: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const USR: &str = "8484680c-9521-48c6-9c11-b0720656f69e";
const HOME: &str = "933ac7e1-2eb4-4f13-b844-0e14e2aef915";

fn os(name: &str) -> String {
    format!("ID={name}\nPRETTY_NAME=\"{name}\"\n")
}

fn ext4(dir: &Path, name: &str, files: &[(&str, &str)], options: &[&str]) -> PathBuf {
    let files = tree(dir, &format!("{name}-files"), files);
    let from = ["-q", "-d", files.to_str().unwrap()];
    filesystem(dir, name, 8, "mkfs.ext4", &[&from[..], options].concat())
}

fn btrfs(dir: &Path, name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let image = filesystem(dir, name, 120, "mkfs.btrfs", &["-q", "-L", name]);
    mounted(&image, fill);
    image
}

fn subvolume(args: &[&str], paths: &[&Path]) {
    let paths: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    run("btrfs", &[&["-q", "subvolume"], args, &paths].concat());
}

/// The root is the top, with snapshots below it.
fn top_with_snapshots(top: &Path) {
    write_files(top, &[("etc/os-release", &os("top"))]);
    fs::create_dir(top.join("snapshots")).unwrap();
    subvolume(&["snapshot", "-r"], &[top, &top.join("snapshots/daily")]);
    subvolume(&["snapshot"], &[top, &top.join("snapshots/writable")]);
}

/// As openSUSE after a rollback: the default is a snapshot of a snapshot, four directories deep.
fn rolled_back(top: &Path) {
    let numbered = |number: u8| top.join(format!("@/.snapshots/{number}/snapshot"));
    subvolume(&["create"], &[&top.join("@")]);
    subvolume(&["create"], &[&top.join("@/var")]);
    for number in 1..4 {
        fs::create_dir_all(numbered(number).parent().unwrap()).unwrap();
    }
    subvolume(&["create"], &[&numbered(1)]);
    let fstab = "LABEL=rolled / btrfs defaults 0 0\nLABEL=rolled /var btrfs subvolid=257 0 0\n";
    let files = [("etc/os-release", &*os("rolled")), ("etc/fstab", fstab)];
    write_files(&numbered(1), &files);
    subvolume(&["snapshot", "-r"], &[&numbered(1), &numbered(2)]);
    subvolume(&["snapshot"], &[&numbered(2), &numbered(3)]);
    subvolume(&["set-default"], &[&numbered(3)]);
}

/// A system that was made of a snapshot of another, and one whose fstab names it by its number;
/// with backups of both, deep below, and the root of a container.
fn relatives(top: &Path) {
    let at = |name: &str| top.join(name);
    let fstab = |options: &str| format!("LABEL=relatives / btrfs {options} 0 0\n");
    subvolume(&["create"], &[&at("old")]);
    write_files(&at("old"), &[("etc/os-release", &os("old"))]);
    subvolume(&["snapshot"], &[&at("old"), &at("new")]);
    write_files(
        &at("new"),
        &[
            ("etc/os-release", &os("new")),
            ("etc/fstab", &fstab("ro,subvol=/new")),
        ],
    );
    fs::create_dir_all(at("a/b/c")).unwrap();
    subvolume(&["create"], &[&at("a/b/c/deep, really")]);
    write_files(
        &at("a/b/c/deep, really"),
        &[
            ("etc/os-release", &os("deep")),
            ("etc/fstab", &fstab("subvolid=258")),
        ],
    );
    subvolume(&["snapshot"], &[&at("a/b/c/deep, really"), &at("a/copy")]);
    subvolume(&["create"], &[&at("new/container")]);
    write_files(
        &at("new/container"),
        &[("etc/os-release", &os("container"))],
    );
}

/// Two versions of a root, and /home by its type; its fstab has another place for the ESP.
fn versions(dir: &Path) -> PathBuf {
    let fstab = "PARTLABEL=esp /boot/esp vfat defaults 0 0\n";
    let root = |name: &str, version: &str| {
        let os = os(&format!("acme{version}"));
        ext4(
            dir,
            name,
            &[("etc/os-release", &os), ("etc/fstab", fstab)],
            &[],
        )
    };
    let (nine, ten) = (root("a9", "9"), root("a10", "10"));
    let esp = filesystem(dir, "a-esp", 4, "mkfs.vfat", &[]);
    let home = ext4(dir, "a-home", &[("x", "")], &[]);
    let script = format!(
        "label: gpt\nstart=1MiB, size=8MiB, type={ROOT}, name=acme_9\n\
         start=9MiB, size=8MiB, type={ROOT}, name=acme_10\n\
         start=17MiB, size=4MiB, type=U, name=esp\nstart=21MiB, size=8MiB, type={HOME}\n"
    );
    let parts = [(1, &*nine), (9, &*ten), (17, &*esp), (21, &*home)];
    disk(dir, "versions", 32, &script, &parts)
}

/// Two versions of /usr and one that waits to be written, and no root.
fn usr_only(dir: &Path) -> PathBuf {
    let usr = |name: &str| {
        let files = tree(
            dir,
            &format!("{name}-files"),
            &[("lib/os-release", &os(name))],
        );
        let image = dir.join(name);
        let paths = [image.to_str().unwrap(), files.to_str().unwrap()];
        run("mkfs.erofs", &[&["--quiet"][..], &paths].concat());
        image
    };
    let (first, second) = (usr("usr1"), usr("usr2"));
    let esp = filesystem(dir, "u-esp", 4, "mkfs.vfat", &[]);
    let script = format!(
        "label: gpt\nstart=1MiB, size=4MiB, type=U\n\
         start=5MiB, size=4MiB, type={USR}, name=acme_2\n\
         start=9MiB, size=4MiB, type={USR}, name=acme_1\n\
         start=13MiB, size=4MiB, type={USR}, name=_empty\n"
    );
    let parts = [(1, &*esp), (5, &*second), (9, &*first)];
    disk(dir, "usr-only", 24, &script, &parts)
}

/// A root without a name, whose /usr has it, by fstab.
fn split_usr(dir: &Path) -> PathBuf {
    let usr = ext4(
        dir,
        "s-usr",
        &[("lib/os-release", &os("split"))],
        &["-L", "USR"],
    );
    let files = [("etc/fstab", "LABEL='USR' /usr ext4 ro 0 0\n")];
    let root = ext4(dir, "s-root", &files, &[]);
    let script = "label: gpt\nstart=1MiB, size=8MiB\nstart=9MiB, size=8MiB\n";
    disk(dir, "split", 20, script, &[(1, &root), (9, &usr)])
}

/// The same without an fstab: both are known by their types.
fn split_by_type(dir: &Path) -> PathBuf {
    let usr = ext4(dir, "t-usr", &[("lib/os-release", &os("typed"))], &[]);
    let root = ext4(dir, "t-root", &[("etc/hostname", "typed\n")], &[]);
    let script = format!(
        "label: gpt\nstart=1MiB, size=8MiB, type={ROOT}\nstart=9MiB, size=8MiB, type={USR}\n"
    );
    disk(dir, "typed", 20, &script, &[(1, &root), (9, &usr)])
}

/// Mounts by systemd's units, and names that can mean only one device.
fn units(dir: &Path) -> PathBuf {
    let files = tree(
        dir,
        "n-root-files",
        &[
            ("etc/os-release", &os("units")),
            (
                "etc/fstab",
                "/dev/disk/by-diskseq/7-part9 /late ext4 noauto,x-systemd.automount 0 0\n\
                 /dev/disk/by-id/scsi-DATA-part1 /data ext4 defaults 0 0\n",
            ),
            (
                "etc/systemd/system/home.mount",
                "[Mount]\nWhat=/dev/disk/by-label/HOMES\n",
            ),
            (
                "usr/lib/systemd/system/gone.mount",
                "[Mount]\nWhat=/dev/disk/by-uuid/0-0\n",
            ),
            ("late/.keep", ""),
        ],
    );
    let wants = files.join("etc/systemd/system/local-fs.target.requires");
    fs::create_dir(&wants).unwrap();
    symlink("../home.mount", wants.join("home.mount")).unwrap();
    symlink(
        "/usr/lib/systemd/system/gone.automount",
        wants.join("gone.automount"),
    )
    .unwrap();
    let options = ["-q", "-d", files.to_str().unwrap()];
    let root = filesystem(dir, "n-root", 8, "mkfs.ext4", &options);
    let late = ext4(dir, "n-late", &[], &[]);
    let home = ext4(dir, "n-home", &[], &["-L", "HOMES"]);
    let script = "label: gpt\nstart=1MiB, size=8MiB\n9: start=9MiB, size=8MiB\n\
                  3: start=17MiB, size=8MiB\n";
    disk(
        dir,
        "units",
        28,
        script,
        &[(1, &root), (9, &late), (17, &home)],
    )
}

/// `SUBVOLUME|NAME|MOUNTS|LEFT OUT` of each root on the disk with this serial number.
fn systems(answer: &Value, number: usize) -> Vec<String> {
    let said = &answer["survey"];
    let disk = &said["disks"][number];
    let disk = disk["device"].as_str().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let roots = said["roots"].as_array().unwrap().iter();
    let here = roots.filter(|root| text(&root["device"]).starts_with(disk));
    let system = |root: &Value| {
        let mounts = root["mounts"].as_array().unwrap().iter().map(|mount| {
            let options = mount["options"].as_array().unwrap().iter().map(text);
            let options: Vec<_> = options.collect();
            let source = text(&mount["source"]).replace(disk, "");
            format!("{source}:{}:{}", text(&mount["target"]), options.join(","))
        });
        let left_out = root["left_out"].as_array().unwrap().iter();
        let left_out =
            left_out.map(|line| format!("{} {}", text(&line["target"]), text(&line["reason"])));
        let lists = [
            mounts.collect::<Vec<_>>().join(" "),
            left_out.collect::<Vec<_>>().join("; "),
        ];
        let name = text(&root["os"]["name"]);
        format!("{}|{name}|{}", text(&root["subvolume"]), lists.join("|"))
    };
    here.map(system).collect()
}

#[test]
fn each_system_is_found_once_and_what_it_mounts_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let disks = [
        btrfs(dir, "top", top_with_snapshots),
        btrfs(dir, "rolled", rolled_back),
        btrfs(dir, "relatives", relatives),
        versions(dir),
        usr_only(dir),
        split_usr(dir),
        split_by_type(dir),
        units(dir),
        deployments::disk_with_boot_partition(dir),
        ext4(
            dir,
            "plain",
            &[("etc/debian_version", "5.0.1\n"), ("bin/sh", "")],
            &[],
        ),
        ext4(
            dir,
            "composefs",
            &[
                ("composefs/images/0123", ""),
                ("state/deploy/0123/etc/x", ""),
            ],
            &[],
        ),
    ];
    let answer = survey(dir, &disks);
    let mut cases = Cases::default();
    let mut case = |name: &str, number: usize, expected: &[&str]| {
        cases.case(name, || assert_eq!(systems(&answer, number), expected));
    };
    case("snapshots below the top", 0, &["-|top|:/:|"]);
    case(
        "the default is a snapshot",
        1,
        &["@/.snapshots/3/snapshot|rolled|:/:subvol=@/.snapshots/3/snapshot :/var:subvolid=257|"],
    );
    case(
        "relatives",
        2,
        &[
            "a/b/c/deep, really|deep|:/:subvolid=258|",
            "new|new|:/:subvol=new|",
            "old|old|:/:subvol=old|",
        ],
    );
    case(
        "the newest version",
        3,
        &["-|acme10|2:/: 3:/boot/esp: 4:/home:|"],
    );
    case("/usr alone", 4, &["-|usr2|tmpfs:/: 2:/usr: 1:/boot:|"]);
    case("/usr by fstab", 5, &["-|split|1:/: 2:/usr:ro|"]);
    case("/usr by its type", 6, &["-|typed|1:/: 2:/usr:|"]);
    case(
        "units",
        7,
        &["-|units|1:/: 9:/late: 3:/home:|/data no such device; /gone no such device"],
    );
    case(
        "a deployment",
        8,
        &["-|Deployed 2|2:/: 2:/sysroot: /sysroot/ostree/deploy/core/var:/var: 1:/boot:|"],
    );
    case("an older system", 9, &["-|Debian GNU/Linux 5.0.1|:/:|"]);
    case("what is deployed with composefs alone", 10, &[]);
    cases.case(
        "what cannot be mounted is named, and nothing else is said",
        || {
            let warnings = answer["survey"]["warnings"].as_array().unwrap();
            let said: Vec<_> = warnings.iter().map(|one| &one["reason"]).collect();
            let composefs = "a system that is deployed with composefs alone (bootc), not mounted";
            assert_eq!(said, [composefs]);
        },
    );
}
