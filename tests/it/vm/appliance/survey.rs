//! The survey in a real machine: one boot looks at many disks at once. The kernel's own drivers
//! must then mount what was found.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bivouac::appliance::{COMMAND_LINE, boot_image, initramfs_with, self_elf};
use bivouac::host::kernel;
use serde_json::Value;

use super::partitioned::{OS, first_disk, second_disk};
use crate::env::bivouac::Bivouac;
use crate::env::cases::Cases;
use crate::env::filesystems::{empty, filesystem, lvm, mirror, mounted, run, tree, write_files};

/// What the agent says of these disks, which have the serial numbers d0, d1 and so on.
pub fn survey(dir: &Path, disks: &[PathBuf]) -> Value {
    survey_with(dir, disks, "")
}

/// [`survey`] with further options of each disk.
pub fn survey_with(dir: &Path, disks: &[PathBuf], options: &str) -> Value {
    let kernel = kernel::find(None).unwrap();
    let init = fs::File::open(env!("CARGO_BIN_EXE_bivouac")).unwrap();
    let mut made = initramfs_with(&kernel, &self_elf::mapped_part(&init).unwrap()).unwrap();
    let (initrd, image) = (dir.join("initramfs"), dir.join("kernel"));
    let mut kernel = boot_image(&kernel).unwrap();
    for (memory, path) in [(&mut made, &initrd), (&mut kernel, &image)] {
        io::Seek::rewind(memory).unwrap();
        io::copy(memory, &mut fs::File::create(path).unwrap()).unwrap();
    }
    let line = format!("{COMMAND_LINE} bivouac.survey={}", disks.len());
    let mut run = Bivouac::run()
        .args(["--cpus", "1", "--memory", "512M", "--append", &line])
        .arg("--kernel")
        .arg(&image)
        .arg("--initrd")
        .arg(&initrd);
    for (number, disk) in disks.iter().enumerate() {
        let disk = disk.display();
        run = run.args([
            "--disk",
            &format!("{disk},format=raw,serial=d{number}{options}"),
        ]);
    }
    let finished = run.output();
    let mark = bivouac::agent::SURVEY_MARK;
    let line = finished
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(mark));
    let line = line.unwrap_or_else(|| panic!("no survey: {finished:?}"));
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    serde_json::from_str(line.trim()).unwrap()
}

#[test]
fn one_system_over_many_disks_is_found_and_mounted_as_its_fstab_says() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ext4 = |name: &str, mib, file: &str| {
        let files = tree(dir, &format!("{name}-files"), &[(file, "")]);
        let options = ["-q", "-d", files.to_str().unwrap()];
        filesystem(dir, name, mib, "mkfs.ext4", &options)
    };
    let [pv0, pv1] = lvm(dir, &ext4("lv-root", 23, "a"), &ext4("lv-data", 8, "lvm/b"));
    let files = tree(dir, "files", &[("a", "b")]);
    let packed = |program: &str, name: &str, before: &[&str], after: &[&str]| {
        let out = dir.join(name);
        run(program, &[before, after].concat());
        out
    };
    let (from, to) = (files.to_str().unwrap(), |name: &str| {
        dir.join(name).to_str().unwrap().to_owned()
    });
    let disks = [
        first_disk(dir),
        second_disk(dir),
        pv0,
        pv1,
        filesystem(dir, "exfat", 16, "mkfs.exfat", &["-L", "Ex Fat"]),
        packed("genisoimage", "iso", &["-quiet", "-o", &to("iso")], &[from]),
        packed("mkfs.erofs", "erofs", &["--quiet"], &[&to("erofs"), from]),
        packed(
            "mksquashfs",
            "squashfs",
            &[from],
            &[&to("squashfs"), "-quiet", "-no-progress"],
        ),
        filesystem(
            dir,
            "luks",
            32,
            "cryptsetup",
            &[
                "luksFormat",
                "-q",
                "--pbkdf",
                "pbkdf2",
                "--iter-time",
                "1",
                "--key-file",
                "/proc/version",
            ],
        ),
        empty(dir, "blank", 8),
    ];
    let answer = survey(dir, &disks);
    let said = &answer["survey"];
    let mut cases = Cases::default();
    cases.case("each disk and what is on it", || {
        let kinds: Vec<_> = said["disks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|disk| {
                let part =
                    |part: &Value| part["content"]["type"].as_str().unwrap_or("-").to_owned();
                let parts = disk["partitions"].as_array().unwrap().iter().map(part);
                let parts: Vec<_> = std::iter::once(part(disk)).chain(parts).collect();
                format!("{} {}", disk["serial"].as_str().unwrap(), parts.join(" "))
            })
            .collect();
        assert_eq!(
            kinds,
            [
                "d0 - vfat xfs swap ext4",
                "d1 - ext2 - ext3",
                "d2 lvm",
                "d3 lvm",
                "d4 exfat",
                "d5 iso9660",
                "d6 erofs",
                "d7 squashfs",
                "d8 luks",
                "d9 -",
            ],
            "{answer:#}"
        );
    });
    cases.case("the identifier of a logical partition", || {
        assert_eq!(said["disks"][1]["partitions"][2]["uuid"], "cafe0001-05");
    });
    cases.case("the logical volumes", || {
        let volumes: Vec<_> = said["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|volume| {
                (
                    volume["device"].as_str().unwrap(),
                    volume["content"]["type"].as_str().unwrap_or("-"),
                )
            })
            .collect();
        assert_eq!(
            volumes,
            [
                ("/dev/mapper/my--vg-root", "ext4"),
                ("/dev/mapper/my--vg-data", "ext4")
            ]
        );
    });
    cases.case("the only root", || {
        assert_eq!(said["roots"].as_array().unwrap().len(), 1, "{answer:#}");
        let root = &said["roots"][0];
        assert_eq!(
            (&root["device"], &root["kind"]),
            (&"/dev/vda2".into(), &"xfs".into())
        );
        assert_eq!(root["os"]["name"], "Test OS 7");
    });
    cases.case("the lines of fstab that are left out", || {
        let root = &said["roots"][0];
        let left_out: Vec<_> = root["left_out"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| {
                (
                    line["source"].as_str().unwrap(),
                    line["reason"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            left_out,
            [
                ("/dev/vda3", "swap"),
                ("/dev/sr0", "noauto"),
                ("tmpfs", "in memory"),
                ("nas:/export", "on the network"),
                ("UUID=dead-beef", "no such device, nofail"),
            ]
        );
    });
    cases.case("the mounts", || {
        let mounts: Vec<_> = answer["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| {
                let mut words = line.as_str().unwrap().split(' ');
                format!("{} {}", words.next().unwrap(), words.next().unwrap())
            })
            .collect();
        assert_eq!(
            mounts,
            [
                "/dev/vda2 /sysroot",
                "/dev/vda1 /sysroot/boot/efi",
                "/dev/vda4 /sysroot/home",
                "/dev/vda4 /sysroot/srv",
                "/dev/mapper/my--vg-data /sysroot/data",
                "/dev/mapper/my--vg-root /sysroot/data/lvm",
                "/dev/vdb5 /sysroot/mnt/old",
                "/dev/vde /sysroot/mnt/ex\\040fat",
                "/dev/vdb1 /sysroot/proc",
                "proc /sysroot/proc",
                "sysfs /sysroot/sys",
                "devtmpfs /sysroot/dev",
                "devpts /sysroot/dev/pts",
                "tmpfs /sysroot/run",
                "tmpfs /sysroot/tmp",
            ],
            "{answer:#}"
        );
        assert_eq!(answer["mounted"]["Ok"], serde_json::json!([]));
    });
    cases.case("the warnings", || {
        assert!(
            said["warnings"].to_string().contains("encrypted (LUKS)"),
            "{answer:#}"
        );
    });
}

#[test]
fn several_systems_are_listed_with_btrfs_subvolumes_and_without_their_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let btrfs = filesystem(dir, "btrfs", 120, "mkfs.btrfs", &["-q", "-L", "pool"]);
    mounted(&btrfs, |top| {
        let subvolume = |name: &str, fstab: &str| {
            let path = top.join(name);
            run(
                "btrfs",
                &["-q", "subvolume", "create", path.to_str().unwrap()],
            );
            if !fstab.is_empty() {
                write_files(&path, &[("etc/os-release", OS), ("etc/fstab", fstab)]);
            }
        };
        subvolume(
            "@",
            "LABEL=pool / btrfs subvol=@ 0 0\nLABEL=pool /home btrfs subvol=/@home 0 0\n",
        );
        subvolume("@home", "");
        fs::create_dir(top.join("vols")).unwrap();
        subvolume("vols/other", "");
        write_files(&top.join("vols/other"), &[("etc/os-release", "ID=other\n")]);
        let path = |name: &str| top.join(name).to_str().unwrap().to_owned();
        run(
            "btrfs",
            &["-q", "subvolume", "snapshot", &path("@"), &path("snapshot")],
        );
    });
    let root = tree(dir, "lv-root-files", &[("etc/os-release", "ID=onlvm\n")]);
    let root = filesystem(
        dir,
        "lv-root",
        23,
        "mkfs.ext4",
        &["-q", "-d", root.to_str().unwrap()],
    );
    let [pv0, pv1] = lvm(dir, &root, &empty(dir, "zeros", 8));
    let old = tree(
        dir,
        "old-files",
        &[
            (
                "etc/redhat-release",
                "Red Hat Enterprise Linux Server release 5.11\n",
            ),
            ("etc/fstab", "/dev/hda1 / ext3 defaults 1 1\n"),
        ],
    );
    let old = filesystem(
        dir,
        "old",
        8,
        "mkfs.ext3",
        &["-q", "-d", old.to_str().unwrap()],
    );
    let pair = tree(dir, "pair-files", &[("etc/os-release", "ID=onraid\n")]);
    let options = ["-q", "-d", pair.to_str().unwrap()];
    let [left, right] = mirror(dir, &filesystem(dir, "pair", 16, "mkfs.ext4", &options));
    let answer = survey(dir, &[btrfs, pv0, pv1, old, left, right]);
    let mut cases = Cases::default();
    let roots = answer["survey"]["roots"].as_array().unwrap();
    cases.case("each system, and no snapshot", || {
        let found: Vec<_> = roots
            .iter()
            .map(|root| {
                let os = &root["os"];
                let name = os["id"].as_str().or(os["name"].as_str()).unwrap();
                let subvolume = root["subvolume"].as_str().unwrap_or_default();
                format!("{} {subvolume} {name}", root["device"].as_str().unwrap())
            })
            .collect();
        assert_eq!(
            found,
            [
                "/dev/vda @ testos",
                "/dev/vda vols/other other",
                "/dev/vdd  rhel",
                "/dev/md127  onraid",
                "/dev/mapper/my--vg-root  onlvm",
            ],
            "{answer:#}"
        );
    });
    cases.case("the subvolumes of the first", || {
        let mounts = &roots[0]["mounts"];
        assert_eq!(mounts[0]["options"], serde_json::json!(["subvol=@"]));
        assert_eq!(mounts[1]["options"], serde_json::json!(["subvol=/@home"]));
        assert!(answer["mounted"].is_null());
    });
}
