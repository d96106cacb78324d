//! Pages of databases that no program writes, or only an empty one: lists that are named twice or overlap.

use super::tests::{NAMES, names, read, seed};

/// The size of the pages of the databases in `tests/corpus-rpmdb`.
const PAGE: usize = 512;

/// Writes the numbers of a machine that is little-endian.
fn put(bytes: &mut [u8], at: usize, number: usize) {
    let number = u32::try_from(number).unwrap();
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// Berkeley DB leaves the page of a bucket without packages unwritten. Elsewhere zeros are damage.
#[test]
fn a_bucket_that_was_never_written_is_empty() {
    let one = seed("bdb-empty-bucket");
    assert!(one[PAGE..2 * PAGE].iter().all(|byte| *byte == 0));
    let contents = read(&one);
    assert!(contents.fault.is_none(), "{contents:?}");
    assert_eq!(names(&contents).len(), 1);
    // Without a package at all.
    let mut none = one[..3 * PAGE].to_vec();
    none[2 * PAGE..].fill(0);
    put(&mut none, 32, 2);
    let contents = read(&none);
    assert!(contents.fault.is_none(), "{contents:?}");
    assert!(contents.found.is_empty());
    // A page that another one leads to.
    let mut zeros = seed("bdb");
    let end = zeros.len() / PAGE;
    put(&mut zeros, 32, end);
    put(&mut zeros, PAGE + 16, end);
    zeros.resize(zeros.len() + PAGE, 0);
    let contents = read(&zeros);
    assert_eq!(names(&contents), NAMES);
    assert_eq!(contents.faults, 1, "{contents:?}");
}
