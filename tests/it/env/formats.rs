//! A filesystem, or what is like one, of every kind that tools of Debian make.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::filesystems::{MIB, filesystem, run, tree};

/// What a tool made, in a file of its own.
pub struct Made {
    pub name: &'static str,
    pub path: PathBuf,
    /// It has a file called `a`.
    pub has_file: bool,
}

/// The name, the size in MiB, the program and its arguments in front of the file.
type Recipe = (&'static str, u64, &'static str, &'static [&'static str]);

/// Those that are made empty.
const EMPTY: &[Recipe] = &[
    ("ext3", 8, "mkfs.ext3", &["-q"]),
    (
        "journal",
        16,
        "mke2fs",
        &["-q", "-O", "journal_dev", "-L", "log"],
    ),
    ("xfs", 300, "mkfs.xfs", &["-q", "-L", "twelve chars"]),
    ("exfat", 16, "mkfs.exfat", &["-L", "Ex Fat"]),
    ("ntfs", 16, "mkntfs", &["-q", "-F", "-L", "Drive C"]),
    ("f2fs", 64, "mkfs.f2fs", &["-q", "-l", "flash"]),
    ("jfs", 32, "mkfs.jfs", &["-q", "-L", "a jfs"]),
    ("nilfs2", 160, "mkfs.nilfs2", &["-q", "-L", "log"]),
    (
        "reiserfs",
        48,
        "mkfs.reiserfs",
        &["-q", "-ff", "-l", "tree"],
    ),
    ("reiser4", 64, "mkfs.reiser4", &["-f", "-y", "-L", "four"]),
    ("minix1", 8, "mkfs.minix", &["-1"]),
    ("minix1-14", 8, "mkfs.minix", &["-1", "-n", "14"]),
    ("minix2", 8, "mkfs.minix", &["-2"]),
    ("minix3", 8, "mkfs.minix", &["-3"]),
    ("bfs", 8, "mkfs.bfs", &[]),
    (
        "gfs2",
        64,
        "mkfs.gfs2",
        &["-O", "-p", "lock_nolock", "-J", "8", "-t", "c:fs"],
    ),
    (
        "ocfs2",
        128,
        "mkfs.ocfs2",
        &["-q", "-M", "local", "-N", "1", "-L", "cluster"],
    ),
    ("hfs", 8, "hformat", &["-l", "an HFS"]),
    ("udf", 32, "mkudffs", &["-l", "Zwö", "-b", "512"]),
    ("udf2048", 32, "mkudffs", &["-l", "日本", "-b", "2048"]),
    ("udf4096", 32, "mkudffs", &["-b", "4096"]),
    ("apfs", 512, "mkapfs", &["-L", "container"]),
    ("swap", 16, "mkswap", &["-q", "-L", "swap"]),
    ("swap64", 16, "mkswap", &["-q", "--pagesize", "65536"]),
    ("bcache", 16, "make-bcache", &["-B"]),
    (
        "luks1",
        16,
        "cryptsetup",
        &[
            "luksFormat",
            "-q",
            "--type",
            "luks1",
            "--iter-time",
            "1",
            "--key-file",
            "/proc/version",
        ],
    ),
    (
        "luks2",
        32,
        "cryptsetup",
        &[
            "luksFormat",
            "-q",
            "--type",
            "luks2",
            "--pbkdf",
            "pbkdf2",
            "--iter-time",
            "1",
            "--label",
            "secret",
            "--key-file",
            "/proc/version",
        ],
    ),
];

/// Those that are made with a file: `FILES` is its directory.
const FILLED: &[Recipe] = &[
    (
        "ext2",
        8,
        "mkfs.ext2",
        &["-q", "-L", "a label", "-d", "FILES"],
    ),
    (
        "ext4",
        16,
        "mkfs.ext4",
        &["-q", "-L", "sixteen letters!", "-d", "FILES"],
    ),
    (
        "btrfs",
        120,
        "mkfs.btrfs",
        &["-q", "-L", "b", "-r", "FILES"],
    ),
];

const FAT: &[Recipe] = &[
    ("fat12", 2, "mkfs.vfat", &["-F", "12", "-n", "TWELVE"]),
    ("fat16", 16, "mkfs.vfat", &["-F", "16"]),
    ("fat32", 64, "mkfs.vfat", &["-F", "32", "-n", "EFI PART"]),
];

/// Those whose size depends on the files: the name and the command, where `OUT` is the file.
const PACKED: &[(&str, &[&str])] = &[
    (
        "squashfs",
        &["mksquashfs", "FILES", "OUT", "-quiet", "-no-progress"],
    ),
    ("erofs", &["mkfs.erofs", "--quiet", "OUT", "FILES"]),
    (
        "iso9660",
        &["genisoimage", "-quiet", "-V", "A CD", "-o", "OUT", "FILES"],
    ),
    (
        "romfs",
        &["genromfs", "-f", "OUT", "-d", "FILES", "-V", "rom"],
    ),
    (
        "cramfs",
        &["mkfs.cramfs", "-n", "compressed", "FILES", "OUT"],
    ),
    (
        "ufs1",
        &[
            "makefs",
            "-t",
            "ffs",
            "-o",
            "version=1",
            "-s",
            "8m",
            "OUT",
            "FILES",
        ],
    ),
    (
        "ufs2",
        &[
            "makefs",
            "-t",
            "ffs",
            "-o",
            "version=2",
            "-s",
            "8m",
            "OUT",
            "FILES",
        ],
    ),
    (
        "ubifs",
        &[
            "mkfs.ubifs",
            "-r",
            "FILES",
            "-m",
            "2048",
            "-e",
            "129024",
            "-c",
            "100",
            "-o",
            "OUT",
        ],
    ),
];

/// All of them, in `dir`.
pub fn all(dir: &Path) -> Vec<Made> {
    let files = tree(dir, "files", &[("a", "b")]);
    let files = files.to_str().unwrap();
    let mut made = Vec::new();
    let mut add = |name, path, has_file| {
        made.push(Made {
            name,
            path,
            has_file,
        })
    };
    for (name, mib, program, args) in EMPTY {
        add(*name, filesystem(dir, name, *mib, program, args), false);
    }
    for (name, mib, program, args) in FILLED {
        let args: Vec<_> = args.iter().map(|arg| arg.replace("FILES", files)).collect();
        let args: Vec<_> = args.iter().map(|arg| &**arg).collect();
        add(*name, filesystem(dir, name, *mib, program, &args), true);
    }
    for (name, mib, program, args) in FAT {
        let path = filesystem(dir, name, *mib, program, args);
        run(
            "mcopy",
            &["-i", path.to_str().unwrap(), &format!("{files}/a"), "::"],
        );
        add(*name, path, true);
    }
    for (name, command) in PACKED {
        let path = dir.join(name);
        let out = path.to_str().unwrap();
        let command = command.iter().map(|word| match *word {
            "FILES" => files,
            "OUT" => out,
            other => other,
        });
        let command: Vec<_> = command.collect();
        run(command[0], &command[1..]);
        // Whole sectors, as a partition has them, and enough for blkid to look.
        let file = fs::File::options().write(true).open(&path).unwrap();
        let size = file.metadata().unwrap().len();
        file.set_len(size.max(MIB / 8).next_multiple_of(4096))
            .unwrap();
        if *name == "ufs1" {
            // Half of its identifier, which makefs takes from the clock: not that of ufs2.
            file.write_all_at(b"one!", 8192 + 148).unwrap();
        }
        add(*name, path, true);
    }
    let data = super::filesystems::empty(dir, "data", 16);
    let verity = super::filesystems::empty(dir, "verity", 16);
    run(
        "veritysetup",
        &["format", data.to_str().unwrap(), verity.to_str().unwrap()],
    );
    add("verity", verity, false);
    made
}
