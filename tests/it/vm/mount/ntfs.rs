//! NTFS, which Debian 13's kernel reads: what programs see of a mounted image is what they see of it by ntfs-3g.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use bivouac::sys;

use super::Mounted;
use super::equal::{assert_equal, noise, seen};
use crate::env::bivouac::Bivouac;
use crate::env::filesystems::{filesystem, mounted_with};
use crate::env::residue::sha256;

/// Debian 13's kernel.
fn kernel() -> String {
    std::env::var("BIVOUAC_TEST_KERNEL")
        .expect("BIVOUAC_TEST_KERNEL: scripts/test sets it, scripts/kernel-trixie makes it")
}

fn set(path: &Path, key: &str, value: &[u8]) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    sys::set_attribute(&path, &CString::new(key).unwrap(), value).unwrap();
}

/// A relative symbolic link as Windows makes it: MS-FSCC, 2.1.2.4.
fn link(path: &Path, target: &str) {
    let name: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let length = name.len() as u16;
    let mut data = 0xa000_000c_u32.to_le_bytes().to_vec();
    for word in [12 + 2 * length, 0, 0, length, length, length, 1, 0] {
        data.extend(word.to_le_bytes());
    }
    data.extend([&name[..], &name].concat());
    File::create(path).unwrap();
    set(path, "system.ntfs_reparse_data", &data);
}

fn plant(top: &Path) {
    let at = |name: &str| top.join(name);
    fs::create_dir_all(at("Long Name of a directory/deep")).unwrap();
    for number in 0..700 {
        let name = format!("Long Name of a directory/deep/{number}");
        fs::write(at(&name), noise(number * 7)).unwrap();
    }
    for name in ["Grüße 日本 \u{1f389}", &"x".repeat(255), "a:b?c*d"] {
        fs::write(at(name), name).unwrap();
    }
    for length in [0, 1, 4096, 131_072, 524_289, 3_000_001] {
        fs::write(at(&format!("{length}")), noise(length)).unwrap();
    }
    fs::hard_link(at("4096"), at("Long Name of a directory/hard")).unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len(20 << 20).unwrap();
    sparse.write_all_at(b"data", 10 << 20).unwrap();
    // In the unit of 100 ns. Of times before 1970 the two drivers make different ones.
    let time = UNIX_EPOCH + Duration::new(946_684_799, 123_456_700);
    File::open(at("1")).unwrap().set_modified(time).unwrap();
    link(&at("link"), r"Long Name of a directory\hard");
    fs::create_dir(at("compressed")).unwrap();
    // FILE_ATTRIBUTE_DIRECTORY is the filesystem's business, FILE_ATTRIBUTE_COMPRESSED ours.
    set(
        &at("compressed"),
        "system.ntfs_attrib",
        &0x800_u32.to_le_bytes(),
    );
    fs::write(at("compressed/text"), b"again and ".repeat(300_001)).unwrap();
    fs::write(at("compressed/noise"), noise(200_000)).unwrap();
}

/// Beside [`seen`]: the numbers, links and times of what is below `top`. Owners and modes are the drivers' own.
fn numbers(top: &Path) -> BTreeMap<PathBuf, String> {
    let paths = seen(top, false).into_keys();
    let told = |below: &Path| {
        let stat = fs::symlink_metadata(top.join(below)).unwrap();
        let (inode, links) = (stat.ino(), stat.nlink());
        let (changed, part) = (stat.mtime(), stat.mtime_nsec());
        format!("{inode} {links} {changed}.{part}")
    };
    paths.map(|below| (below.clone(), told(&below))).collect()
}

#[test]
fn an_image_of_ntfs_has_the_files_times_and_links_that_ntfs_3g_shows() {
    let dir = tempfile::tempdir().unwrap();
    let image = filesystem(dir.path(), "ntfs", 64, "mkntfs", &["-q", "-F"]);
    mounted_with("loop,compression", &image, plant);
    let mut expected = (BTreeMap::new(), BTreeMap::new());
    mounted_with("loop,ro", &image, |top| {
        expected = (seen(top, false), numbers(top));
        let size = fs::metadata(top.join("compressed/text")).unwrap();
        assert!(size.blocks() * 512 < size.len(), "it is not compressed");
    });
    assert!(expected.0[Path::new("link")].contains("-> "));
    let before = sha256(&image);
    let mount = Mounted::of(Bivouac::new().env("BIVOUAC_KERNEL", kernel()), &image, &[]);
    let top = mount.place.path();
    assert_equal(seen(top, false), expected.0);
    assert_equal(numbers(top), expected.1);
    for entry in fs::read_dir(top).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.ino(), entry.metadata().unwrap().ino(), "{entry:?}");
    }
    assert_eq!(mount.end().code(), Some(0));
    assert_eq!(sha256(&image), before);
}
