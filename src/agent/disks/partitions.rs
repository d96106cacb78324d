//! Partition tables, as far as the kernel does not say what is in them: types, names and the
//! identifiers that `PARTUUID=` names. Where partitions begin and end is the kernel's to say.

use std::collections::BTreeMap;

use super::blocks::{Blocks, Fields};
use super::text::{guid, utf16};
use crate::guest::wire::disks::{Table, TableKind};

/// More entries than any tool makes; a header may say four thousand millions.
const MOST_ENTRIES: u64 = 1024;
/// The kernel stops at 256 partitions of a disk.
const MOST_LOGICAL: u32 = 256;

/// What a table says of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// A GUID, or `0x83`.
    pub kind: Option<String>,
    /// Its name.
    pub label: Option<String>,
    /// What `PARTUUID=` names.
    pub uuid: Option<String>,
}

/// The table and its entries by number. Where there is no table, or none that makes sense,
/// `None`.
pub fn read(disk: &(impl Blocks + ?Sized), sector: u64) -> Option<(Table, BTreeMap<u32, Entry>)> {
    gpt(disk, sector).or_else(|| mbr(disk, sector))
}

fn gpt(disk: &(impl Blocks + ?Sized), sector: u64) -> Option<(Table, BTreeMap<u32, Entry>)> {
    // The second header is at the end, for where the first one was damaged.
    let last = disk.size().checked_sub(sector)?;
    let header = [sector, last]
        .into_iter()
        .map(|at| disk.some(at, 92))
        .find(|header| header.has(0, b"EFI PART"))?;
    let (first, count, size) = (header.u64(72), header.u32(80), header.u32(84));
    if !(128..=4096).contains(&size) {
        return None;
    }
    let at = first.checked_mul(sector)?;
    let count = u64::from(count).min(MOST_ENTRIES);
    let entries = disk.some(at, (count * u64::from(size)) as usize);
    let mut found = BTreeMap::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(size as usize)) {
        let Some(kind) = guid(entry.part(0, 16)) else {
            continue;
        };
        let label = utf16(entry.part(56, 72));
        let entry = Entry {
            kind: Some(kind),
            label: (!label.is_empty()).then_some(label),
            uuid: guid(entry.part(16, 16)),
        };
        found.insert(number, entry);
    }
    let table = Table {
        kind: TableKind::Gpt,
        id: guid(header.part(56, 16)).unwrap_or_default(),
    };
    Some((table, found))
}

/// Types of partitions that hold others.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

fn mbr(disk: &(impl Blocks + ?Sized), sector: u64) -> Option<(Table, BTreeMap<u32, Entry>)> {
    let block = &disk.some(0, 512)[..];
    let records = records(block)?;
    // Each is active or not, and one at least is used: else it is some boot sector.
    let sane = records.iter().all(|record| matches!(record[0], 0 | 0x80));
    if !sane || records.iter().all(|record| record[4] == 0) {
        return None;
    }
    let id = format!("{:08x}", block.u32(440));
    let entry = |number: u32, kind: u8| Entry {
        kind: Some(format!("0x{kind:02x}")),
        label: None,
        uuid: (id != "00000000").then(|| format!("{id}-{number:02x}")),
    };
    let mut found = BTreeMap::new();
    for (number, record) in (1..).zip(&records) {
        if record[4] == 0 {
            continue;
        }
        found.insert(number, entry(number, record[4]));
        if EXTENDED.contains(&record[4]) {
            for kind in logical(disk, sector, u64::from(record.u32(8))) {
                let number = found.keys().next_back().map_or(5, |last| (last + 1).max(5));
                found.insert(number, entry(number, kind));
            }
        }
    }
    let table = Table {
        kind: TableKind::Mbr,
        id,
    };
    Some((table, found))
}

/// The four records of a boot sector.
fn records(block: &[u8]) -> Option<Vec<&[u8]>> {
    (block.has(510, &[0x55, 0xaa])).then(|| block[446..510].chunks_exact(16).collect())
}

/// The types of logical partitions: each boot record holds one, and the way to the next.
fn logical(disk: &(impl Blocks + ?Sized), sector: u64, extended: u64) -> Vec<u8> {
    let mut kinds = Vec::new();
    let mut at = extended;
    for _ in 0..MOST_LOGICAL {
        let block = &disk.some(at.saturating_mul(sector), 512)[..];
        let Some(records) = records(block) else {
            break;
        };
        let (held, ways): (Vec<&[u8]>, Vec<&[u8]>) = records
            .into_iter()
            .filter(|record| record[4] != 0)
            .partition(|record| !EXTENDED.contains(&record[4]));
        kinds.extend(held.iter().map(|record| record[4]));
        // In circles it may lead, but not for ever.
        match ways.first() {
            Some(way) => at = extended.saturating_add(u64::from(way.u32(8))),
            None => break,
        }
    }
    kinds.truncate(MOST_LOGICAL as usize);
    kinds
}
