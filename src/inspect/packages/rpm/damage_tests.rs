//! Pages of databases that no program writes, or only an empty one: lists that are named twice or overlap.

use super::super::package::Package;
use super::header;
use super::source::{Contents, MAX_PACKAGES};
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

/// A number of SQLite, of one to three bytes.
fn varint(number: usize) -> Vec<u8> {
    let bytes = [number >> 14, number >> 7, number].map(|part| part as u8 | 0x80);
    let skipped = match number {
        0..0x80 => 2,
        0x80..0x4000 => 1,
        _ => 0,
    };
    let mut bytes = bytes[skipped..].to_vec();
    *bytes.last_mut().unwrap() &= 0x7f;
    bytes
}

/// A cell with a row: its columns as their types and bytes.
fn cell(columns: &[(usize, &[u8])]) -> Vec<u8> {
    let types: Vec<u8> = columns.iter().flat_map(|(kind, _)| varint(*kind)).collect();
    let values = columns.iter().flat_map(|(_, bytes)| bytes.iter());
    let mut row = varint(types.len() + 1);
    row.extend(types);
    row.extend(values);
    let mut cell = varint(row.len());
    cell.push(1);
    cell.extend(row);
    cell
}

/// A record of rpm whose name, version and so on are one text of this length.
fn record(length: usize) -> Vec<u8> {
    let tags = [1000_u32, 1001, 1002, 1022, 1044, 1011, 1014];
    let mut record = Vec::new();
    for number in [tags.len(), length + 1] {
        record.extend(u32::try_from(number).unwrap().to_be_bytes());
    }
    for number in tags.into_iter().flat_map(|tag| [tag, 6, 0, 1]) {
        record.extend(number.to_be_bytes());
    }
    record.resize(record.len() + length, b'a');
    record.push(0);
    record
}

/// A database of two pages of 64 KiB: the schema, and `count` packages whose cells are one.
fn overlapping(count: usize, record: &[u8]) -> Vec<u8> {
    const PAGE: usize = 1 << 16;
    let leaf = |page: &mut [u8], start: usize, count: usize, cell: &[u8]| {
        let at = PAGE - cell.len();
        page[start] = 13;
        page[start + 3..start + 5].copy_from_slice(&(count as u16).to_be_bytes());
        for pointer in page[start + 8..].chunks_exact_mut(2).take(count) {
            pointer.copy_from_slice(&(at as u16).to_be_bytes());
        }
        assert!(start + 8 + 2 * count <= at);
        page[at..].copy_from_slice(cell);
    };
    let name: &[u8] = b"Packages";
    let table = cell(&[(23, b"table"), (29, name), (29, name), (4, &[0, 0, 0, 2])]);
    let mut database = vec![0; 2 * PAGE];
    database[..18].copy_from_slice(b"SQLite format 3\0\0\x01");
    leaf(&mut database[..PAGE], 100, 1, &table);
    let package = cell(&[(0, b""), (12 + 2 * record.len(), record)]);
    leaf(&mut database[PAGE..], 0, count, &package);
    database
}

/// As many packages as a page has room for pointers, each with all of its text seven times: without a check
/// they would take 3.7 GB.
#[test]
fn cells_that_overlap_are_refused() {
    let one = read(&overlapping(1, &record(1000)));
    assert!(one.fault.is_none(), "{one:?}");
    assert_eq!(one.found[0].name.len(), 1000);
    let contents = read(&overlapping(16_000, &record(33_000)));
    assert_eq!((contents.found.len(), contents.faults), (0, 1));
    let fault = contents.fault.unwrap().to_string();
    assert_eq!(
        fault,
        "a list of packages at byte 65536 is damaged or cut off"
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap().trim().trim_end_matches(" kB");
    assert!(peak.parse::<u64>().unwrap() < 1 << 20, "{peak} KiB");
}

/// Texts that several tags share, and lists without end, are limited by what is kept of them.
#[test]
fn what_is_kept_of_a_database_is_limited() {
    let longest = header::package(&record(64 << 10)).unwrap().unwrap();
    assert_eq!(longest.weight(), 7 * (64 << 10) + 1);
    let fault = header::package(&record((64 << 10) + 1)).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "it is damaged: a package with too long a text"
    );
    let mut contents = Contents::new();
    for _ in 0..1000 {
        contents.add(Ok(Some(longest.clone()))).unwrap();
    }
    assert_eq!(contents.found.len(), (256 << 20) / longest.weight());
    assert_eq!(contents.faults, 1000 - contents.found.len());
    let mut contents = Contents::new();
    for _ in 0..=MAX_PACKAGES {
        contents.add(Ok(Some(Package::default()))).unwrap();
    }
    assert_eq!((contents.found.len(), contents.faults), (MAX_PACKAGES, 1));
    let fault = contents.fault.unwrap().to_string();
    assert_eq!(fault, "so many packages is not supported");
}
