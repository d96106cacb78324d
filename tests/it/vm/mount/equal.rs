//! What programs see of a mounted image is what they see of the same filesystem on a loop device, or of
//! the files that it was made of.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use bivouac::sys;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::Value;

use super::Mounted;
use crate::env::bivouac::Bivouac;
use crate::env::filesystems::{filesystem, mounted, run};
use crate::env::residue::sha256;

/// Every byte that a name may have, as far as there is room.
fn odd_name(first: u8) -> OsString {
    let bytes = (1..=255).map(|number: u8| number.wrapping_add(first));
    OsString::from_vec(bytes.filter(|byte| !matches!(byte, 0 | b'/')).collect())
}

pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(step).collect()
}

/// Everything that is hard about files.
fn plant(top: &Path) {
    let at = |name: &str| top.join(name);
    fs::create_dir(at("odd")).unwrap();
    for first in [0, 100, 200] {
        fs::write(at("odd").join(odd_name(first)), [first]).unwrap();
    }
    symlink(odd_name(3), at("odd/link")).unwrap();
    symlink("loop-b", at("loop-a")).unwrap();
    symlink("loop-a", at("loop-b")).unwrap();
    symlink("self/self", at("self")).unwrap();
    symlink("x".repeat(1000), at("long")).unwrap();
    symlink("/etc/passwd", at("absolute")).unwrap();
    fs::create_dir_all(at("many/deep/er")).unwrap();
    for number in 0..700 {
        fs::write(at(&format!("many/{number}")), noise(number * 7)).unwrap();
        fs::write(at(&format!("many/deep/{number}")), number.to_string()).unwrap();
    }
    for length in [0, 1, 4096, 131_072, 524_288, 524_289, 3_000_001] {
        fs::write(at(&format!("{length}")), noise(length)).unwrap();
    }
    fs::hard_link(at("4096"), at("many/deep/er/hard")).unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len(20 << 20).unwrap();
    sparse.write_all_at(b"data", 10 << 20).unwrap();
    let hole = File::create(at("many/hole")).unwrap();
    hole.set_len(60_000).unwrap();
    hole.write_all_at(b"data", 40_000).unwrap();
    // In pieces between those of the other.
    let pieces = ["many/one", "many/other"].map(|name| File::create(at(name)).unwrap());
    for (number, file) in (0..16).flat_map(|number| pieces.iter().map(move |file| (number, file))) {
        file.write_all_at(&noise(8192), number * 8192).unwrap();
        file.sync_all().unwrap();
    }
    // Allocated and never written, but for the middle.
    let reserved = File::create(at("many/reserved")).unwrap();
    let mode = nix::fcntl::FallocateFlags::empty();
    nix::fcntl::fallocate(&reserved, mode, 0, 60_000).unwrap();
    reserved.write_all_at(&noise(5000), 20_001).unwrap();
    let unwritten = File::create(at("unwritten")).unwrap();
    nix::fcntl::fallocate(&unwritten, mode, 0, 3 << 20).unwrap();
    unwritten.write_all_at(&noise(70_000), 1_000_001).unwrap();
    for (name, mode) in [("suid", 0o6755), ("none", 0), ("sticky", 0o1777)] {
        fs::write(at(name), name).unwrap();
        chown(at(name), Some(12_345), Some(4_000_000_000)).unwrap();
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    let time = UNIX_EPOCH - Duration::new(86_400, 250_000_000);
    File::open(at("1")).unwrap().set_modified(time).unwrap();
    let device = |name: &str, kind, number| mknod(&at(name), kind, Mode::S_IRUSR, number).unwrap();
    device("null", SFlag::S_IFCHR, makedev(1, 3));
    device("disk", SFlag::S_IFBLK, makedev(259, 70_000));
    device("fifo", SFlag::S_IFIFO, 0);
    device("socket", SFlag::S_IFSOCK, 0);
    let set = |name: &str, key, value: &[u8]| {
        let path = CString::new(at(name).as_os_str().as_bytes()).unwrap();
        sys::set_attribute(&path, key, value).unwrap();
    };
    set("suid", c"user.one", b"\0\xff");
    set("suid", c"user.empty", b"");
    set("suid", c"trusted.two", &noise(1500));
    set("many", c"user.directory", b"of many");
    run("setcap", &["cap_net_raw+ep", at("4096").to_str().unwrap()]);
    run(
        "setfacl",
        &["-m", "u:77:rwx", at("sticky").to_str().unwrap()],
    );
}

fn attributes(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let names = sys::attribute_names(&path).unwrap();
    let names = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let value = |name: &[u8]| sys::attribute(&path, &CString::new(name).unwrap()).unwrap();
    names
        .map(|name| (OsString::from_vec(name.to_vec()), value(name)))
        .collect()
}

/// Of a file's bytes.
fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    fs::read(path).unwrap().hash(&mut hasher);
    hasher.finish()
}

/// What is below `top`, by path. Only bytes, kinds and links, unless it is of a filesystem with `all`.
pub(super) fn seen(top: &Path, all: bool) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let (path, stat) = (entry.path(), fs::symlink_metadata(entry.path()).unwrap());
            let below = path.strip_prefix(top).unwrap().to_owned();
            let kind = stat.file_type();
            let mut line = String::new();
            if kind.is_symlink() {
                line += &format!(" -> {:?}", fs::read_link(&path).unwrap());
            } else if kind.is_file() {
                line += &format!("{} {:x}", stat.len(), hash(&path));
            } else if kind.is_dir() {
                line += "directory";
                waiting.push(path.clone());
            }
            if all {
                let (changed, blocks) = ((stat.mtime(), stat.mtime_nsec()), stat.blocks());
                line += &format!(
                    " {:o} {} {}:{} {} {changed:?} {} {blocks}",
                    stat.mode(),
                    stat.nlink(),
                    stat.uid(),
                    stat.gid(),
                    stat.ino(),
                    stat.ctime(),
                );
                if kind.is_block_device() || kind.is_char_device() {
                    line += &format!(" device {:x}", stat.rdev());
                }
                // An entry's own number is that of the file.
                let number = std::os::unix::fs::DirEntryExt::ino(&entry);
                assert_eq!(number, stat.ino(), "{}", below.display());
                if !kind.is_symlink() {
                    line += &format!(" {:?}", attributes(&path));
                }
            }
            found.insert(below, line);
        }
    }
    found
}

#[track_caller]
pub(super) fn assert_equal(found: BTreeMap<PathBuf, String>, expected: BTreeMap<PathBuf, String>) {
    for (path, line) in &expected {
        assert_eq!(found.get(path), Some(line), "{}", path.display());
    }
    assert_eq!(found.len(), expected.len(), "something was added");
}

/// A large file that is compressed on the disk.
fn compressed(top: &Path) {
    let path = top.join("compressed");
    File::create(&path).unwrap();
    run("chattr", &["+c", path.to_str().unwrap()]);
    fs::write(&path, b"again and ".repeat(300_001)).unwrap();
}

#[test]
fn bytes_metadata_links_and_attributes_are_those_of_a_loop_mount() {
    let dir = tempfile::tempdir().unwrap();
    for (program, mib, options) in [
        ("mkfs.ext4", 64, &["-q", "-O", "ea_inode,inline_data"][..]),
        ("mkfs.ext4", 64, &["-q", "-O", "ea_inode", "-b", "1024"]),
        ("mkfs.xfs", 320, &["-q"]),
        ("mkfs.btrfs", 200, &["-q"]),
    ] {
        let name = format!("{program}-{}", options.len());
        let image = filesystem(dir.path(), &name, mib, program, options);
        let mut expected = BTreeMap::new();
        mounted(&image, plant);
        if program == "mkfs.btrfs" {
            mounted(&image, compressed);
        }
        // Anew, because only then the number of blocks is that on the disk.
        mounted(&image, |top| expected = seen(top, true));
        let before = sha256(&image);
        // After a walk that wants no more than names, while one of them is in use.
        let mount = Mounted::new(&image, &[]);
        let used = File::open(mount.path("4096")).unwrap();
        let place = mount.place.path().to_str().unwrap();
        let dots = run("find", &[place, "-mindepth", "1", "-printf", "."]);
        assert_eq!(dots.len(), expected.len());
        assert_eq!(used.metadata().unwrap().len(), 4096);
        drop(used);
        assert_equal(seen(mount.place.path(), true), expected.clone());
        assert_eq!(mount.end().code(), Some(0));
        let mount = Mounted::new(&image, &[]);
        assert_equal(seen(mount.place.path(), true), expected);
        let loops = fs::read(mount.path("loop-a")).unwrap_err();
        assert_eq!(loops.raw_os_error(), Some(nix::libc::ELOOP));
        let device = File::open(mount.path("null")).unwrap_err();
        assert_eq!(device.raw_os_error(), Some(nix::libc::EACCES));
        let written = fs::write(mount.path("new"), "").unwrap_err();
        assert_eq!(written.raw_os_error(), Some(nix::libc::EROFS));
        let missing = fs::metadata(mount.path("missing")).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(nix::libc::ENOENT));
        // In any order, and parts of it.
        let large = File::open(mount.path("3000001")).unwrap();
        let expected = noise(3_000_001);
        for at in [2_999_990, 0, 1_500_000, 70_000, 2_000_000, 4_000_000] {
            let mut bytes = [0; 100];
            let read = large.read_at(&mut bytes, at as u64).unwrap();
            assert_eq!(bytes[..read], expected[at.min(3_000_001)..][..read]);
            assert_eq!(read, 3_000_001_usize.saturating_sub(at).min(100));
        }
        drop(large);
        assert_eq!(mount.end().code(), Some(0));
        assert_eq!(sha256(&image), before, "{program}");
        assert_checksums(&image);
    }
}

/// `ls --checksum` says of each file in `many` what sha256sum says of it.
#[track_caller]
fn assert_checksums(image: &Path) {
    let place = format!("{}:/many", image.display());
    let args = ["ls", "-R", "--json", "--checksum", &place];
    let listed = Bivouac::new().args(args).output();
    assert_eq!(listed.code(), Some(0), "{listed:?}");
    let entries = listed.stdout.lines().map(|line| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let digest = entry["sha256"].as_str().map(str::to_owned);
        (entry["path"].as_str().unwrap().to_owned(), digest)
    });
    let found: BTreeMap<_, _> = entries.filter(|(_, digest)| digest.is_some()).collect();
    let mut expected = BTreeMap::new();
    mounted(image, |top| {
        for directory in ["many", "many/deep", "many/deep/er"] {
            for entry in fs::read_dir(top.join(directory)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.strip_prefix(top).unwrap().display().to_string();
                    expected.insert(format!("/{name}"), Some(sha256(&path)));
                }
            }
        }
    });
    assert!(expected.len() > 1400);
    assert_eq!(found, expected);
}

#[test]
fn a_disc_and_a_fat_filesystem_hold_the_files_that_they_were_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("below/Long Name of a directory")).unwrap();
    for (name, length) in [("small", 10), ("below/large.bin", 2_500_000), ("empty", 0)] {
        fs::write(tree.join(name), noise(length)).unwrap();
    }
    fs::write(tree.join("below/Long Name of a directory/A file"), "u").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let fat = filesystem(dir.path(), "fat", 64, "mkfs.vfat", &["-F", "32"]);
    let all = ["small", "below", "empty"].map(|name| text(&tree.join(name)));
    let mut args = vec!["-s", "-Q", "-i"];
    let image = text(&fat);
    args.push(&image);
    args.extend(all.iter().map(String::as_str));
    args.push("::");
    run("env", &[&["LC_ALL=C.UTF-8", "mcopy"], &args[..]].concat());
    symlink("below/large.bin", tree.join("link")).unwrap();
    let iso = text(&dir.path().join("iso"));
    run("genisoimage", &["-quiet", "-R", "-o", &iso, &text(&tree)]);
    for (image, has_links) in [(fat, false), (PathBuf::from(iso), true)] {
        let mut expected = seen(&tree, false);
        if !has_links {
            expected.remove(Path::new("link"));
        }
        let mount = Mounted::new(&image, &[]);
        assert_equal(seen(mount.place.path(), false), expected);
        assert_eq!(mount.end().code(), Some(0));
    }
}

#[test]
fn disks_and_partitions_are_files() {
    let image = crate::env::guests::guest("box.qcow2");
    let raw = crate::env::guests::guest("box.raw");
    let mount = Mounted::new(&image, &["--raw"]);
    let mut names: Vec<_> = fs::read_dir(mount.place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["vda", "vda1"].map(OsStr::new));
    assert_eq!(sha256(&mount.path("vda")), sha256(&raw));
    let size = fs::metadata(mount.path("vda1")).unwrap().len();
    let (mut part, mut expected) = ([0; 4096], [0; 4096]);
    let disk = File::open(raw).unwrap();
    disk.read_exact_at(&mut expected, (64 << 20) - size)
        .unwrap();
    let file = File::open(mount.path("vda1")).unwrap();
    file.read_exact_at(&mut part, 0).unwrap();
    assert_ne!(size, 64 << 20);
    drop(file);
    assert_eq!(mount.end().code(), Some(0));
}
