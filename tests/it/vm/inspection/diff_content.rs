//! `diff`: when the content of a file decides, and what counts as the same content.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::env::bivouac::Bivouac;
use crate::env::filesystems::{MIB, filesystem, mounted, run, write_files};
use crate::env::residue::sha256;

/// Status and output of `diff`.
fn diff(options: &[&str], before: &Path, after: &Path) -> (Option<i32>, String) {
    let diff = Bivouac::new().arg("diff").args(options);
    let found = diff.arg(before).arg(after).output();
    (found.code(), found.stdout)
}

fn modified(path: &str) -> (Option<i32>, String) {
    (Some(1), format!("M {path}  content\n"))
}

fn nothing() -> (Option<i32>, String) {
    (Some(0), String::new())
}

/// Changes a file and sets its time of modification back.
fn behind_its_back(path: &Path, change: impl FnOnce(&File)) {
    let mut options = File::options();
    let options = options.create(true).truncate(false).write(true);
    let file = options.open(path).unwrap();
    change(&file);
    let then = UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    file.set_modified(then).unwrap();
}

#[test]
fn a_byte_in_a_hole_is_found_and_zeros_in_place_of_a_hole_are_none() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let before = filesystem(dir.path(), "before", 64, "mkfs.ext4", &["-q"]);
    let same = |file: &File| file.write_all_at(b"same", 5 * MIB).unwrap();
    mounted(&before, |top| {
        for (name, length) in [("holes", 16 * MIB), ("sparse", 1024 * MIB)] {
            behind_its_back(&top.join(name), |file| {
                file.set_len(length).unwrap();
                same(file);
            });
        }
    });
    let after = dir.path().join("after");
    fs::copy(&before, &after).unwrap();
    mounted(&after, |top| {
        behind_its_back(&top.join("holes"), |file| {
            let zeros = vec![0; 16 * MIB as usize];
            file.write_all_at(&zeros, 0).unwrap();
            same(file);
        });
    });
    assert_eq!(diff(&["--all"], &before, &after), nothing());
    assert_eq!(diff(&["--checksum"], &before, &after), nothing());
    mounted(&after, |top| {
        behind_its_back(&top.join("sparse"), |file| {
            file.write_all_at(b"x", 512 * MIB).unwrap();
        });
    });
    assert_eq!(diff(&["--all"], &before, &after), modified("/sparse"));
    // The time of the status change cannot be set back.
    assert_eq!(
        diff(&["--all", "--quick"], &before, &after),
        modified("/sparse")
    );
}

/// The time of a change reaches the disk with the journal, and the change itself later.
#[test]
fn two_copies_of_a_disk_in_use_are_compared_by_content() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let disk = filesystem(dir.path(), "disk", 16, "mkfs.ext4", &["-q", "-I", "256"]);
    let copies = ["before", "after"].map(|name| dir.path().join(name));
    mounted(&disk, |top| {
        fs::write(top.join("db"), [b'a'; 5000]).unwrap();
        nix::unistd::sync();
        let db = File::options().write(true).open(top.join("db")).unwrap();
        db.write_all_at(b"bbbb", 0).unwrap();
        let other = File::create(top.join("other")).unwrap();
        other.sync_all().unwrap();
        fs::copy(&disk, &copies[0]).unwrap();
        nix::unistd::sync();
        fs::copy(&disk, &copies[1]).unwrap();
    });
    let sums = copies.each_ref().map(|image| sha256(image));
    let [before, after] = &copies;
    assert_eq!(diff(&[], before, after), modified("/db"));
    // Which is said of it; so its content is not read.
    assert_eq!(diff(&["--quick"], before, after), nothing());
    assert_eq!(copies.each_ref().map(|image| sha256(image)), sums);
}

#[test]
fn a_time_that_a_program_sets_is_no_stamp() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let [before, after] = ["before", "after"].map(|name| {
        let tree = dir.path().join("tree");
        write_files(&tree, &[("file", name[..5].as_ref())]);
        // The time of status change of EROFS is this one.
        behind_its_back(&tree.join("file"), |_| {});
        let image = dir.path().join(name);
        let [to, from] = [&image, &tree].map(|path| path.to_str().unwrap().to_owned());
        run("mkfs.erofs", &["-Eforce-inode-extended", &to, &from]);
        image
    });
    assert_eq!(diff(&[], &before, &after), modified("/file"));
}
