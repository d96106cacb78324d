//! Partition tables: the types, names and `PARTUUID=` identifiers that the kernel does not
//! report. Where partitions begin and end is taken from the kernel.

use std::collections::BTreeMap;

use super::device_reader::ReadAt;
use super::ids::{guid, utf16};
use crate::linux::bytes::Fields;
use crate::protocol::disks::{Table, TableKind};

/// Limit on GPT entries. Tools make 128; the header's field allows 2^32.
const MAX_GPT_ENTRIES: u64 = 1024;
/// Limit on logical partitions; the kernel handles 256 partitions of a disk.
const MAX_LOGICAL: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionEntry {
    /// The type: a GUID, or a number such as `0x83`.
    pub kind: Option<String>,
    /// The name (GPT only).
    pub label: Option<String>,
    /// What `PARTUUID=` names.
    pub uuid: Option<String>,
}

/// A table, and its entries by partition number.
type Found = (Table, BTreeMap<u32, PartitionEntry>);

/// Reads the partition table of a disk with logical sectors of `sector` bytes; `None` if it has no
/// plausible one.
pub fn read(disk: &dyn ReadAt, sector: u64) -> Option<Found> {
    gpt(disk, sector).or_else(|| mbr(disk, sector))
}

fn gpt(disk: &dyn ReadAt, sector: u64) -> Option<Found> {
    // A backup header is in the last sector.
    let last = disk.size().checked_sub(sector)?;
    let header = [sector, last]
        .into_iter()
        .map(|at| disk.bytes_at(at, 92))
        .find(|header| header.has(0, b"EFI PART"))?;
    let (first, count, size) = (header.le64(72), header.le32(80), header.le32(84));
    if !(128..=4096).contains(&size) {
        return None;
    }
    let at = first.checked_mul(sector)?;
    let count = u64::from(count).min(MAX_GPT_ENTRIES);
    let entries = disk.bytes_at(at, (count * u64::from(size)) as usize);
    let mut found = BTreeMap::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(size as usize)) {
        let Some(kind) = guid(entry.part(0, 16)) else {
            continue;
        };
        let label = utf16(entry.part(56, 72));
        let entry = PartitionEntry {
            kind: Some(kind),
            label: (!label.is_empty()).then_some(label),
            uuid: guid(entry.part(16, 16)),
        };
        found.insert(number, entry);
    }
    let (kind, id) = (TableKind::Gpt, guid(header.part(56, 16)));
    let id = id.unwrap_or_default();
    Some((Table { kind, id }, found))
}

const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

fn mbr(disk: &dyn ReadAt, sector: u64) -> Option<Found> {
    let block = &disk.bytes_at(0, 512)[..];
    let records = records(block)?;
    // Boot sectors of filesystems have the same signature. In a table each record is active or
    // inactive, and at least one is used.
    let sane = records.iter().all(|record| matches!(record[0], 0 | 0x80));
    if !sane || records.iter().all(|record| record[4] == 0) {
        return None;
    }
    let id = format!("{:08x}", block.le32(440));
    let entry = |number: u32, kind: u8| PartitionEntry {
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
            for kind in logical(disk, sector, u64::from(record.le32(8))) {
                let number = found.keys().next_back().map_or(5, |last| (last + 1).max(5));
                found.insert(number, entry(number, kind));
            }
        }
    }
    let kind = TableKind::Mbr;
    Some((Table { kind, id }, found))
}

fn records(block: &[u8]) -> Option<Vec<&[u8]>> {
    (block.has(510, &[0x55, 0xaa])).then(|| block[446..510].chunks_exact(16).collect())
}

/// The types of the logical partitions. Each boot record describes one and links to the next;
/// a chain that loops ends at the limit.
fn logical(disk: &dyn ReadAt, sector: u64, extended: u64) -> Vec<u8> {
    let mut kinds = Vec::new();
    let mut at = extended;
    for _ in 0..MAX_LOGICAL {
        let block = &disk.bytes_at(at.saturating_mul(sector), 512)[..];
        let Some(records) = records(block) else { break };
        let (partitions, links): (Vec<&[u8]>, Vec<&[u8]>) = records
            .into_iter()
            .filter(|record| record[4] != 0)
            .partition(|record| !EXTENDED.contains(&record[4]));
        kinds.extend(partitions.iter().map(|record| record[4]));
        match links.first() {
            Some(link) => at = extended.saturating_add(u64::from(link.le32(8))),
            None => break,
        }
    }
    kinds.truncate(MAX_LOGICAL);
    kinds
}
