//! What a hostile stream cannot do while it is made into files, and what becomes of the seeds of
//! the fuzz target.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bivouac::archive::{ArchiveError, BeneathDir, Kind, Member, Policy, TargetDir, unpack};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::transfer::stream;

fn member(path: &str, kind: Kind, size: u64) -> Member {
    let mut member = Member::new(path.into(), kind);
    member.size = size;
    member
}

/// A stream that looks, before each of its pieces, at what a file may be by then.
struct Watched<'a> {
    stream: &'a [u8],
    file: PathBuf,
    seen: Vec<u32>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Ok(found) = fs::metadata(&self.file) {
            self.seen.push(found.permissions().mode() & 0o7777);
        }
        self.stream.read(buffer)
    }
}

#[test]
fn a_file_is_nobody_elses_before_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = member("file", Kind::File, 300_000);
    file.mode = 0o1555;
    file.attributes = vec![(b"user.kept".to_vec(), b"1".to_vec())];
    let stream = stream(&[file, member("last", Kind::Directory, 0)]);
    let path = dir.path().join("file");
    let (file, seen) = (path.clone(), Vec::new());
    let stream = &stream[..];
    let mut watched = Watched { stream, file, seen };
    let place = BeneathDir::at(dir.path()).unwrap();
    let extracted = unpack(&place, &Policy::default(), &mut watched).unwrap();
    assert_eq!(extracted.failed, 0, "{extracted:?}");
    let whole = watched.seen.iter().position(|mode| *mode == 0o555);
    let (part, whole) = watched.seen.split_at(whole.unwrap());
    assert!(part.len() > 2 && part.iter().all(|mode| *mode == 0o600));
    assert!(whole.iter().all(|mode| *mode == 0o555));
    let attribute = bivouac::sys::extended_attribute(&path, "user.kept");
    assert_eq!(attribute.as_deref(), Some(&b"1"[..]));
}

/// Counts the paths that are looked up.
struct Counted(BeneathDir, Cell<usize>);

impl TargetDir for Counted {
    fn open(&self, below: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        self.1.set(self.1.get() + 1);
        self.0.open(below, flags)
    }
}

#[test]
fn paths_that_only_keep_us_busy_are_refused_and_deep_ones_cost_little() {
    let dir = tempfile::tempdir().unwrap();
    let place = Counted(BeneathDir::at(dir.path()).unwrap(), Cell::default());
    let endless = member(&"d/".repeat(100_000), Kind::Directory, 0);
    let extracted = unpack(&place, &Policy::default(), &stream(&[endless])[..]).unwrap();
    let (name, errno) = extracted.first.unwrap();
    assert_eq!((name.len(), errno), (4096, Errno::ENAMETOOLONG));
    assert_eq!(
        (fs::read_dir(dir.path()).unwrap().count(), place.1.get()),
        (0, 0)
    );
    let deep = format!("{}file", "d/".repeat(300));
    let other = format!("{}e/{}file", "d/".repeat(150), "d/".repeat(149));
    let members = [&deep, &other].map(|path| member(path, Kind::File, 3));
    let extracted = unpack(&place, &Policy::default(), &stream(&members)[..]).unwrap();
    assert_eq!(extracted.failed, 0, "{extracted:?}");
    for path in [deep, other] {
        assert_eq!(fs::read(dir.path().join(path)).unwrap(), b"xxx");
    }
    assert!(place.1.get() < 30, "{} paths were looked up", place.1.get());
}

/// Before anything of it is written, and however little each member is.
#[test]
fn no_more_is_written_than_a_copy_may() {
    let limited = |members: &[Member], max_bytes| {
        let dir = tempfile::tempdir().unwrap();
        let place = BeneathDir::at(dir.path()).unwrap();
        let policy = Policy {
            max_bytes: Some(max_bytes),
            ..Policy::default()
        };
        let unpacked = unpack(&place, &policy, &stream(members)[..]);
        (unpacked, fs::read_dir(dir.path()).unwrap().count())
    };
    let two = ["a", "b"].map(|name| member(name, Kind::File, 1000));
    let (unpacked, files) = limited(&two, 3024);
    assert_eq!((unpacked.unwrap().bytes, files), (3024, 2));
    let (unpacked, files) = limited(&two, 3023);
    assert!(
        matches!(unpacked, Err(ArchiveError::OverLimit)),
        "{unpacked:?}"
    );
    assert_eq!(files, 1);
    let many: Vec<_> = (0..100)
        .map(|n| member(&n.to_string(), Kind::Directory, 0))
        .collect();
    let (unpacked, files) = limited(&many, 10 * 512);
    assert!(
        matches!(unpacked, Err(ArchiveError::OverLimit)),
        "{unpacked:?}"
    );
    assert_eq!(files, 10);
}

#[test]
fn every_seed_of_archives_keeps_its_verdict() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus-archive");
    let entries = fs::read_dir(corpus).unwrap();
    let mut seeds: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    let mut verdicts = String::new();
    for seed in seeds {
        let dir = tempfile::tempdir().unwrap();
        let policy = Policy {
            only: Some(b"top".to_vec()),
            ..Policy::default()
        };
        // The first byte is the fuzz target's.
        let stream = fs::read(&seed).unwrap().split_off(1);
        let extracted = unpack(&BeneathDir::at(dir.path()).unwrap(), &policy, &stream[..]);
        let verdict = match extracted {
            Ok(made) => format!(
                "{} members, {} failed, {:?}",
                made.members,
                made.failed,
                made.first
                    .map(|(name, errno)| (name.escape_ascii().to_string(), errno))
            ),
            Err(error) => error.to_string(),
        };
        let name = seed.file_name().unwrap().display().to_string();
        verdicts += &format!("{name}: {verdict}\n");
    }
    insta::assert_snapshot!("archives", verdicts);
}
