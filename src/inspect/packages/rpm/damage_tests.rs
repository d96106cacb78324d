//! Pages of databases that no program writes, or only an empty one: lists that are named twice or overlap.

use super::tests::{NAMES, names, read, seed};
use crate::linux::bytes::Fields;

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

/// Of a tree whose page leads to a wrong one, another's packages are lost: a fault, and none is there twice.
#[test]
fn a_page_that_is_named_in_place_of_another_is_a_fault() {
    let whole = seed("sqlite");
    let inner = PAGE;
    assert_eq!(
        whole[inner..inner + 5],
        [5, 0, 0, 0, 2],
        "two and one pages below"
    );
    let places = [12, 14].map(|at| inner + usize::from(whole.be16(inner + at)));
    let last = inner + 8;
    for place in [places[0], places[1], last] {
        for page in 0..=whole.len() / PAGE + 1 {
            let mut changed = whole.clone();
            changed[place..place + 4].copy_from_slice(&u32::try_from(page).unwrap().to_be_bytes());
            let is_same = changed == whole;
            let contents = read(&changed);
            assert_eq!(
                contents.fault.is_none(),
                is_same,
                "page {page}: {contents:?}"
            );
            let mut once = names(&contents);
            once.dedup();
            assert_eq!(once, names(&contents), "page {page}");
        }
    }
    // All pages, in another order.
    let mut swapped = whole.clone();
    for (from, to) in [(places[0], places[1]), (places[1], places[0])] {
        swapped[to..to + 4].copy_from_slice(&whole[from..from + 4]);
    }
    let contents = read(&swapped);
    assert_eq!(names(&contents), NAMES);
    let fault = contents.fault.unwrap().to_string();
    assert_eq!(fault, "it is damaged: its packages are not in order");
}

/// Three buckets of empty pages, the first of which leads to the second: all pages are read as often as
/// there are pages, but the third is not among them.
#[test]
fn a_bucket_that_leads_into_another_is_a_fault() {
    let mut database = seed("bdb")[..PAGE].to_vec();
    for (at, number) in [(32, 3), (72, 2), (96, 1), (100, 1), (104, 1)] {
        put(&mut database, at, number);
    }
    for number in 1..=3 {
        let mut page = vec![0; PAGE];
        put(&mut page, 8, number);
        page[22..24].copy_from_slice(&512_u16.to_le_bytes());
        page[25] = 13;
        database.extend(page);
    }
    assert!(read(&database).fault.is_none());
    put(&mut database, PAGE + 16, 2);
    let contents = read(&database);
    assert_eq!(contents.faults, 1, "{contents:?}");
    let fault = contents.fault.unwrap().to_string();
    assert_eq!(fault, "it is damaged: a page is used twice");
}

/// A file that ends with a page, but not with its last one, and one that says to end there.
#[test]
fn fewer_pages_than_a_database_has_are_a_fault() {
    for name in ["bdb", "bdb-empty-bucket", "sqlite"] {
        let whole = seed(name);
        for pages in 1..whole.len() / PAGE {
            let contents = read(&whole[..pages * PAGE]);
            assert!(contents.fault.is_some(), "{pages} pages: {contents:?}");
        }
    }
    let mut bdb = seed("bdb");
    for last in 0..bdb.len() / PAGE - 1 {
        put(&mut bdb, 32, last);
        let contents = read(&bdb);
        assert!(contents.fault.is_some(), "{last} pages: {contents:?}");
    }
}
