//! Volumes made by the tools that everybody makes them with, in the appliance: not every kernel that
//! tests run under has device-mapper or MD.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bivouac::host::kernel;

use super::bivouac::Bivouac;
use super::filesystems::{filesystem, run, write_files};

/// The programs in it.
const TOOLS: [&str; 14] = [
    "sh",
    "cat",
    "head",
    "sync",
    "sleep",
    "mount",
    "umount",
    "insmod",
    "lvm",
    "mdadm",
    "sfdisk",
    "mke2fs",
    "mkdir",
    "cryptsetup",
];

/// What scripts begin with: `$1` and so on are the disks; `tree NAME DEVICE` writes a system.
const BEGINNING: &str = r#"
set -e
exec 3>&1 >&2
while read -r set file rest; do
    case $set in dm* | raid*) insmod /proc/1/root/modules/$file 2>/tmp/insmod || true ;; esac
done </proc/1/root/modules/list
for module in /modules/*; do insmod "$module"; done
tree() { mke2fs -q -t ext4 -d "/trees/$1" "$2"; }
export DM_DISABLE_UDEV=1
lvm() { LVM_SUPPRESS_FD_WARNINGS=1 /bin/lvm "$@" --config "activation{udev_sync=0 udev_rules=0} devices{scan_lvs=1}
    global{thin_check_executable=\"\" cache_check_executable=\"\"}"; }
"#;

/// A root filesystem with LVM, mdadm, cryptsetup and mke2fs.
pub struct Toolbox {
    image: PathBuf,
}

impl Toolbox {
    /// One in `dir`, with a tree of the smallest system for each of these names.
    pub fn new(dir: &Path, systems: &[&str]) -> Self {
        let root = dir.join("toolbox-root");
        for place in [
            "bin", "proc", "sys", "dev", "run/lock", "tmp", "etc", "trees",
        ] {
            fs::create_dir_all(root.join(place)).unwrap();
        }
        for tool in TOOLS {
            let line = format!("PATH=$PATH:/usr/sbin:/sbin command -v {tool}");
            let program = run("sh", &["-c", &line]);
            copy(&root, program.trim(), &format!("bin/{tool}"));
        }
        copy_modules(&root.join("modules"));
        for name in systems {
            let os = format!("ID={name}\nPRETTY_NAME={name}\n");
            let files = [
                ("etc/os-release", &*os),
                ("etc/hostname", name),
                ("etc/fstab", ""),
            ];
            write_files(&root.join("trees").join(name), &files);
        }
        let options = ["-q", "-d", root.to_str().unwrap()];
        Self {
            image: filesystem(dir, "toolbox", 96, "mkfs.ext4", &options),
        }
    }

    /// Runs a script in the appliance where the disks are `$1` and so on, and puts what they hold then
    /// into their files, which are empty before.
    pub fn make(&self, disks: &[&Path], script: &str) {
        let devices: Vec<_> = (b'b'..)
            .map(|letter| format!("/dev/vd{}", char::from(letter)))
            .take(disks.len())
            .collect();
        let all = devices.join(" ");
        let script = format!("{BEGINNING}\nset -- {all}\n{script}\nsync\ncat {all} >&3\n");
        let mut command = Bivouac::new().arg("chroot").arg(&self.image);
        for disk in disks {
            let disk = disk.display();
            command = command.args(["--disk", &format!("{disk},format=raw")]);
        }
        let place = tempfile::tempdir().unwrap();
        let (made, said) = (place.path().join("made"), place.path().join("said"));
        let ended = command
            .args(["--", "/bin/sh", "-c", &script])
            .command()
            .stdout(Stdio::from(File::create(&made).unwrap()))
            .stderr(Stdio::from(File::create(&said).unwrap()))
            .status()
            .unwrap();
        let said = fs::read_to_string(said).unwrap();
        assert!(ended.success(), "{ended:?}: {said}");
        let mut at = 0;
        for disk in disks {
            let length = fs::metadata(disk).unwrap().len();
            super::filesystems::place(disk, 0, &made, at, Some(length));
            at += length;
        }
    }
}

/// What LVM wants for a mirror, in the order to load it in: the appliance reads one without.
fn copy_modules(to: &Path) {
    fs::create_dir(to).unwrap();
    let from = kernel::find(None).unwrap().modules.unwrap();
    for (number, name) in ["dm-log", "dm-region-hash", "dm-mirror"].iter().enumerate() {
        let directory = from.join("kernel/drivers/md");
        let file = fs::read_dir(&directory).unwrap().find_map(|entry| {
            let file = entry.unwrap().file_name().into_string().unwrap();
            file.starts_with(&format!("{name}.ko")).then_some(file)
        });
        let file = file.unwrap_or_else(|| panic!("{name} in {}", directory.display()));
        fs::copy(directory.join(&file), to.join(format!("{number}-{file}"))).unwrap();
    }
}

/// Copies a program and its libraries below `root`.
fn copy(root: &Path, program: &str, name: &str) {
    fs::copy(program, root.join(name)).unwrap();
    let libraries = run("ldd", &[program]);
    let paths = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for path in paths {
        let to = root.join(&path[1..]);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(path, to).unwrap();
    }
}
