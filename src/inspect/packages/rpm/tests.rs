//! Databases that rpm, Berkeley DB and SQLite made (`tests/corpus-rpmdb`), whole, cut off and with every byte
//! changed. Each has two packages and a key. They were made by rpm 4.20, and from its records by db5.3_load and
//! by SQLite with small pages.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::super::package::Package;
use super::source::Contents;
use super::{bdb, header, ndb, sqlite};

pub(super) fn seed(name: &str) -> Vec<u8> {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus-rpmdb");
    std::fs::read(corpus.join(name)).unwrap()
}

/// Reads bytes as the format that they begin as, without waiting for anything.
pub(super) fn read(bytes: &[u8]) -> Contents {
    read_with(bytes, None)
}

fn read_with<'a>(bytes: &'a [u8], mut log: Option<&'a [u8]>) -> Contents {
    let mut file = bytes;
    let reading = async {
        match bytes {
            [b'R', b'p', b'm', b'P', ..] => ndb::records(&mut file, header::package).await,
            [b'S', b'Q', b'L', ..] => {
                sqlite::records(&mut file, log.as_mut(), header::package).await
            }
            _ => bdb::records(&mut file, header::package).await,
        }
    };
    match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(contents) => contents.unwrap(),
        Poll::Pending => unreachable!("bytes are there"),
    }
}

pub(super) fn names(contents: &Contents) -> Vec<String> {
    let found = contents.found.iter();
    let mut names: Vec<_> = found
        .map(|one| format!("{} {}", one.name, one.version))
        .collect();
    names.sort();
    names
}

const SEEDS: [&str; 4] = ["ndb", "bdb", "bdb-big-endian", "sqlite"];
pub(super) const NAMES: [&str; 2] = ["odd++ 2:1.5-3~rc1", "plain 0:7-3~rc1"];

#[test]
fn every_format_gives_the_packages_and_not_the_keys() {
    for name in SEEDS {
        let contents = read(&seed(name));
        assert!(contents.fault.is_none(), "{name}: {contents:?}");
        assert_eq!(names(&contents), NAMES, "{name}");
        let odd = contents.found.iter().find(|one| one.name == "odd++");
        let expected = Package {
            name: "odd++".to_owned(),
            version: "2:1.5-3~rc1".to_owned(),
            architecture: Some("noarch".to_owned()),
            source: Some("odd++-1.5-3~rc1.src.rpm".to_owned()),
            vendor: Some("A Vendor".to_owned()),
            license: Some("MIT and \"odd\"".to_owned()),
        };
        assert_eq!(odd, Some(&expected), "{name}");
    }
}

/// Whatever is cut off, a list that is not whole has a fault.
#[test]
fn a_database_that_is_cut_off_says_so() {
    for name in SEEDS {
        let whole = seed(name);
        for length in (0..whole.len()).step_by(61) {
            let contents = read(&whole[..length]);
            assert!(contents.fault.is_some(), "{name} of {length} bytes");
            assert_eq!(contents.faults > 0, contents.fault.is_some());
        }
    }
}

/// In NDB records have checksums. In Berkeley DB nothing has: a changed name is another name (of a key's
/// record a package's), but no record is lost without a word.
#[test]
fn a_database_with_any_byte_changed_is_refused_or_whole() {
    for name in SEEDS {
        let whole = seed(name);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let contents = read(&changed);
            if contents.fault.is_none() {
                match name {
                    "ndb" => assert_eq!(names(&contents), NAMES, "{name}, byte {at}"),
                    // A cell fewer in the only page of a tree, or its table with another name.
                    "sqlite" => {}
                    _ => assert!(contents.found.len() >= 2, "{name}, byte {at}"),
                }
            }
        }
    }
}

/// A damaged record leaves the others.
#[test]
fn what_is_not_damaged_is_listed() {
    for name in SEEDS {
        let mut changed = seed(name);
        let mut places = (0..changed.len()).filter(|at| changed[*at..].starts_with(b"odd++\0"));
        let at = places.next().unwrap();
        drop(places);
        match name {
            "ndb" => changed[at] = 0,
            // Where its chain of pages goes on.
            "sqlite" => changed[at / 512 * 512] = 1,
            _ => changed[at / 512 * 512 + 25] = 0,
        }
        let contents = read(&changed);
        assert_eq!(names(&contents), &NAMES[1..], "{name}: {contents:?}");
        assert_eq!(contents.faults, 1, "{name}: {contents:?}");
    }
}

/// Pages that lead in a circle, and buckets without end, end.
#[test]
fn circles_of_pages_end() {
    let whole = seed("bdb");
    for page in 1..whole.len() / 512 {
        let mut changed = whole.clone();
        let at = page * 512;
        let number = u32::try_from(page).unwrap().to_le_bytes();
        changed[at + 16..at + 20].copy_from_slice(&number);
        // A chain may go on behind its last page; a bucket ends only where its pages do.
        let contents = read(&changed);
        if changed[at + 25] == 13 {
            assert!(contents.fault.is_some(), "page {page}: {contents:?}");
        }
    }
    // Four thousand million buckets, none of which has a page.
    let mut endless = whole.clone();
    for field in [32, 72, 96] {
        endless[field..field + 4].copy_from_slice(&(u32::MAX - field as u32).to_le_bytes());
    }
    assert!(read(&endless).fault.is_some());
}

/// What the fuzzer found: none of it takes long, or is taken for whole.
#[test]
fn what_was_found_by_fuzzing_is_refused() {
    let contents = read(&seed("fuzz-buckets"));
    assert!(contents.fault.is_some(), "{contents:?}");
}

/// What is committed in a log is valid, what is not is not, and a log that cannot be read is said.
#[test]
fn a_log_of_sqlite_is_newer_than_its_file() {
    let both = seed("sqlite-with-log");
    let (file, log) = both.split_at(seed("sqlite").len());
    assert_eq!(names(&read(file)), NAMES);
    let merged = read_with(file, Some(log));
    assert!(merged.fault.is_none(), "{merged:?}");
    assert_eq!(merged.found.len(), 1);
    for length in 0..log.len() {
        let found = read_with(file, Some(&log[..length]));
        let is_whole = found.found.len() == 2 || names(&found) == names(&merged);
        assert!(is_whole, "{length}: {found:?}");
        assert_eq!(found.fault.is_some(), (1..32).contains(&length), "{length}");
    }
    for at in 0..log.len() {
        let mut changed = log.to_vec();
        changed[at] ^= 0xff;
        let found = read_with(file, Some(&changed));
        assert_eq!(found.fault.is_some(), at < 32, "{at}: {found:?}");
    }
}
