//! A tree of ten thousand small files and a sparse one of 10 GiB, and all that a copy must keep
//! of a tree.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use nix::unistd::{Whence, lseek};

const SPARSE: u64 = 10 << 30;

/// How many directories, and how many files in each.
pub const DIRECTORIES: usize = 100;
pub const FILES: usize = 100;

/// Makes it at `top`. Times are in whole seconds, which is all that mke2fs keeps.
pub fn plant(top: &Path) {
    let second = |number: usize| UNIX_EPOCH + Duration::from_secs(1_000_000_000 + number as u64);
    for number in 0..DIRECTORIES {
        let directory = top.join(format!("d{number:02}"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..FILES {
            let path = directory.join(format!("f{file:02}"));
            fs::write(&path, format!("{number} {file}\n").repeat(file % 9)).unwrap();
            if file % 10 == 0 {
                let path = CString::new(path.as_os_str().as_bytes()).unwrap();
                let value = format!("{number}/{file}");
                bivouac::sys::set_attribute(&path, c"user.core", value.as_bytes()).unwrap();
            }
            let open = File::options().write(true).open(&path).unwrap();
            let mode = [0o644, 0o600, 0o755, 0o440][file % 4];
            open.set_permissions(Permissions::from_mode(mode)).unwrap();
            open.set_modified(second(100 * number + file)).unwrap();
        }
        symlink(format!("../d{number:02}/f01"), directory.join("link")).unwrap();
        fs::hard_link(directory.join("f02"), directory.join("hard")).unwrap();
        let mode = [0o755, 0o750][number % 2];
        fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        // Last, because what is made in it changes it.
        let open = File::open(&directory).unwrap();
        open.set_modified(second(number)).unwrap();
    }
    let sparse = File::create(top.join("sparse")).unwrap();
    sparse.set_len(SPARSE).unwrap();
    for at in [0, 1 << 30, (5 << 30) + 12_345, SPARSE - 3] {
        sparse.write_all_at(b"end", at).unwrap();
    }
}

/// What is below `top`, by path: kind, mode, time, size, names, attribute, and content.
pub fn seen(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let mut line = format!("{:o}", stat.mode());
            if stat.is_symlink() {
                line += &format!(" -> {:?}", fs::read_link(&path).unwrap());
            } else {
                line += &format!(" {}", stat.mtime());
            }
            if stat.is_file() {
                let attribute = bivouac::sys::extended_attribute(&path, "user.core");
                let (size, names) = (stat.len(), stat.nlink());
                line += &format!(" {size} {names} {attribute:?} {:?}", content(&path));
            }
            if stat.is_dir() {
                waiting.push(path.clone());
            }
            let below = path.strip_prefix(top).unwrap().to_owned();
            found.insert(below, line);
        }
    }
    found
}

/// Panics unless two trees are alike, and the copy takes as little room.
#[track_caller]
pub fn assert_same(copy: &Path, original: &Path) {
    let (copied, expected) = (seen(copy), seen(original));
    let names = DIRECTORIES * (FILES + 3) + 1;
    assert_eq!(expected.len(), names, "what was planted");
    for (path, line) in &expected {
        assert_eq!(copied.get(path), Some(line), "{}", path.display());
    }
    assert_eq!(copied.len(), expected.len(), "something was added");
    let sparse = fs::metadata(copy.join("sparse")).unwrap();
    assert!(sparse.blocks() < 100, "{} blocks", sparse.blocks());
}

/// Every byte that is not zero, and where it is: the same for files with other holes.
fn content(path: &Path) -> Vec<(u64, String)> {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let (mut runs, mut end) = (Vec::new(), 0);
    while let Ok(data) = lseek(&file, end, Whence::SeekData) {
        end = lseek(&file, data, Whence::SeekHole).unwrap();
        assert!(end - data < 1 << 20, "{}: no holes", path.display());
        let mut bytes = vec![0; (end - data) as usize];
        file.read_exact_at(&mut bytes, data as u64).unwrap();
        let mut at = data as u64;
        for run in bytes.chunk_by(|one, other| (*one == 0) == (*other == 0)) {
            if run[0] != 0 {
                runs.push((at, String::from_utf8_lossy(run).into_owned()));
            }
            at += run.len() as u64;
        }
        if end as u64 >= size {
            break;
        }
    }
    runs
}
