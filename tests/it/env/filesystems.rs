//! Filesystems and disks made by the tools that everybody makes them with.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::images::LoopDevice;

pub const MIB: u64 = 1 << 20;

/// Runs a program that must succeed; gives its output.
pub fn run(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command
        .env("PATH", path())
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .args(args);
    let output = super::wait::output(&mut command)
        .unwrap_or_else(|error| panic!("{program}: {error}: scripts/setup installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Tools for disks live in sbin, which a user's PATH may lack.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap())
}

/// A file of zeros.
pub fn empty(dir: &Path, name: &str, mib: u64) -> PathBuf {
    let path = dir.join(name);
    File::create(&path).unwrap().set_len(mib * MIB).unwrap();
    path
}

/// A filesystem in a file of its own: `program`, its arguments, and the file behind them.
pub fn filesystem(dir: &Path, name: &str, mib: u64, program: &str, args: &[&str]) -> PathBuf {
    let path = empty(dir, name, mib);
    run(program, &[args, &[path.to_str().unwrap()]].concat());
    path
}

/// A directory with these files.
pub fn tree(dir: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = dir.join(name);
    write_files(&root, files);
    root
}

pub fn write_files(root: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(root).unwrap();
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Does something with a filesystem while it is mounted here. Needs root.
pub fn mounted(image: &Path, work: impl FnOnce(&Path)) {
    mounted_with("loop", image, work);
}

/// [`mounted`] with options of mount.
pub fn mounted_with(options: &str, image: &Path, work: impl FnOnce(&Path)) {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().to_str().unwrap();
    run("mount", &["-o", options, image.to_str().unwrap(), target]);
    let done = catch_unwind(AssertUnwindSafe(|| work(place.path())));
    run("umount", &[target]);
    if let Err(panic) = done {
        resume_unwind(panic);
    }
}

/// Has sfdisk write the table that `script` describes.
pub fn write_table(disk: &Path, script: &str) {
    let mut sfdisk = Command::new("sfdisk")
        .env("PATH", path())
        .arg("--quiet")
        .arg(disk)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sfdisk");
    let mut input = sfdisk.stdin.take().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    assert!(sfdisk.wait().unwrap().success());
}

/// A disk with a partition table that sfdisk makes of `script`, and a file's content at each
/// place, in MiB.
pub fn disk(dir: &Path, name: &str, mib: u64, script: &str, parts: &[(u64, &Path)]) -> PathBuf {
    let disk = empty(dir, name, mib);
    write_table(&disk, script);
    for (at, part) in parts {
        place(&disk, at * MIB, part, 0, None);
    }
    disk
}

/// Copies a part of a file into a disk; all of it without a length.
pub fn place(disk: &Path, at: u64, from: &Path, skip: u64, length: Option<u64>) {
    let disk = File::options().write(true).open(disk).unwrap();
    let from = File::open(from).unwrap();
    let length = length.unwrap_or(from.metadata().unwrap().len() - skip);
    let mut buffer = vec![0; MIB as usize];
    let mut done = 0;
    while done < length {
        let chunk = &mut buffer[..MIB.min(length - done) as usize];
        from.read_exact_at(chunk, skip + done).unwrap();
        // Holes stay holes.
        if chunk.iter().any(|byte| *byte != 0) {
            disk.write_all_at(chunk, at + done).unwrap();
        }
        done += chunk.len() as u64;
    }
}

/// Two physical volumes of 40 MiB in the group `my-vg`: `root`, linear, on both, and `data`,
/// striped, which hold these filesystems. No device-mapper is needed here: LVM is told to do
/// without, and the volumes' extents are where its metadata says. Needs root.
pub fn lvm(dir: &Path, root: &Path, data: &Path) -> [PathBuf; 2] {
    let disks = ["pv0", "pv1"].map(|name| empty(dir, name, 40));
    let loops = disks.each_ref().map(|disk| LoopDevice::of(disk));
    let [first, second] = loops
        .each_ref()
        .map(|device| device.path().to_str().unwrap());
    let only = format!("devices{{filter=[\"a|^{first}$|\",\"a|^{second}$|\",\"r|.*|\"]}}");
    let lvm = |command: &str, args: &[&str]| {
        let own = ["--driverloaded", "n", "-q", "-y", "--config", &only];
        run(command, &[&own[..], args].concat());
    };
    let inactive = ["-an", "-Zn", "-Wn"];
    lvm("pvcreate", &[first, second]);
    lvm("vgcreate", &["-s", "1M", "my-vg", first, second]);
    let create = |args: &[&str]| lvm("lvcreate", &[&inactive[..], args].concat());
    create(&["-n", "root", "-l", "20", "my-vg", first]);
    create(&["-n", "data", "-i", "2", "-I", "64", "-l", "8", "my-vg"]);
    lvm("lvextend", &["-l", "+3", "my-vg/root", second]);
    // The first extent is at 1 MiB. root: 20 extents from 0, then 3 from 4 of the second;
    // data: stripes of 64 KiB from 20 of the first and from 0 of the second.
    place(&disks[0], MIB, root, 0, Some(20 * MIB));
    place(&disks[1], 5 * MIB, root, 20 * MIB, Some(3 * MIB));
    for chunk in 0..8 * MIB / 65536 {
        let (at, on) = (chunk / 2 * 65536, chunk % 2);
        let start = if on == 0 { 21 * MIB } else { MIB };
        place(
            &disks[on as usize],
            start + at,
            data,
            chunk * 65536,
            Some(65536),
        );
    }
    disks
}

/// A physical volume of so many MiB, whose group has this name, and a volume `root` that holds a
/// filesystem of whole MiB. Needs root.
pub fn physical_volume(dir: &Path, group: &str, mib: u64, root: &Path) -> PathBuf {
    let volume = empty(dir, &format!("{group}-pv"), mib);
    let size = fs::metadata(root).unwrap().len();
    let extents = (size / MIB).to_string();
    let device = LoopDevice::of(&volume);
    let device = device.path().to_str().unwrap();
    let only = format!("devices{{filter=[\"a|^{device}$|\",\"r|.*|\"]}}");
    let create = ["-an", "-Zn", "-Wn", "-n", "root", "-l", &extents, group];
    for (command, args) in [
        ("pvcreate", &[device][..]),
        ("vgcreate", &["-s", "1M", group, device]),
        ("lvcreate", &create),
    ] {
        let own = ["--driverloaded", "n", "-q", "-y", "--config", &only];
        run(command, &[&own[..], args].concat());
    }
    place(&volume, MIB, root, 0, None);
    volume
}

/// The two members of a mirror that holds this filesystem, with superblocks of version 1.2 as
/// <linux/raid/md_p.h> has them: mdadm makes none without a kernel that has MD.
pub fn mirror(dir: &Path, content: &Path) -> [PathBuf; 2] {
    let sectors = fs::metadata(content).unwrap().len() / 512;
    [0_u32, 1].map(|number| {
        let mut block = vec![0_u8; 260];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &0xa92b_4efc_u32.to_le_bytes());
        put(4, &1_u32.to_le_bytes());
        put(16, b"sixteen byte id!");
        put(32, b"here:pair");
        // RAID 1, the size, and two disks.
        put(72, &1_u32.to_le_bytes());
        put(80, &sectors.to_le_bytes());
        put(92, &2_u32.to_le_bytes());
        // Data at 1 MiB, its size, and this superblock at 4 KiB.
        put(128, &2048_u64.to_le_bytes());
        put(136, &sectors.to_le_bytes());
        put(144, &8_u64.to_le_bytes());
        put(160, &number.to_le_bytes());
        put(168, &[number as u8 + 1; 16]);
        put(200, &7_u64.to_le_bytes());
        // In sync; two roles, each the disk's number.
        put(208, &u64::MAX.to_le_bytes());
        put(220, &2_u32.to_le_bytes());
        put(258, &1_u16.to_le_bytes());
        let words = block.chunks_exact(4);
        let sum: u64 = words
            .map(|w| u64::from(u32::from_le_bytes(w.try_into().unwrap())))
            .sum();
        let folded = (sum & 0xffff_ffff) + (sum >> 32);
        block[216..220].copy_from_slice(&(folded as u32).to_le_bytes());
        let disk = empty(dir, &format!("mirror{number}"), sectors * 512 / MIB + 2);
        let file = File::options().write(true).open(&disk).unwrap();
        file.write_all_at(&block, 4096).unwrap();
        place(&disk, MIB, content, 0, None);
        disk
    })
}
