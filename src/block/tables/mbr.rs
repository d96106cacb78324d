//! Master boot records, their chains of logical partitions, and the BSD labels inside, numbered
//! as the kernel does (block/partitions/msdos.c).

use super::super::device_reader::ReadAt;
use super::{Entry, MAX_PARTITIONS, Table, bsd, entry};
use crate::linux::bytes::Fields;
use crate::protocol::disks::TableKind;

/// Types of partitions that hold others.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
const PROTECTIVE: &str = "0xee";
/// Types whose partitions may begin with a BSD label: FreeBSD, OpenBSD, NetBSD.
const BSD: [u8; 3] = [0xa5, 0xa6, 0xa9];
/// The kernel follows a chain of logical partitions no further.
const MAX_CHAIN: usize = 100;

/// One of the four records of a boot sector.
#[derive(Clone, Copy)]
struct Record<'a>(&'a [u8]);

impl Record<'_> {
    fn kind(self) -> u8 {
        self.0[4]
    }
    fn start(self) -> u64 {
        u64::from(self.0.le32(8))
    }
    fn length(self) -> u64 {
        u64::from(self.0.le32(12))
    }
    fn is_extended(self) -> bool {
        EXTENDED.contains(&self.kind())
    }
}

/// Whether it does nothing but point at a GPT, or does that beside other partitions.
pub(super) fn is_protective(table: &Table) -> bool {
    (table.partitions.iter()).any(|entry| entry.kind.as_deref() == Some(PROTECTIVE))
}

/// The table of a boot sector; `None` where it is the boot sector of a file system, or none.
pub(super) fn read(disk: &dyn ReadAt, sector: u64) -> Option<Table> {
    let block = &disk.bytes_at(0, 512)[..];
    let records = records(block)?;
    // Each is active or not; anything else is code or text of a boot sector.
    let sane = |record: &Record| matches!(record.0[0], 0 | 0x80);
    if !records.iter().all(sane) || records.iter().all(|record| record.length() == 0) {
        return None;
    }
    let mut table = Table::new(TableKind::Mbr);
    table.id = format!("{:08x}", block.le32(440));
    let mut logical = Vec::new();
    for (number, record) in (1..).zip(&records) {
        if record.length() == 0 {
            continue;
        }
        add(&mut table, number, *record, record.start(), sector);
        if record.is_extended() {
            chain(disk, sector, *record, &mut logical);
        }
    }
    for (number, (record, start)) in (5..).zip(&logical) {
        add(&mut table, number, Record(record), *start, sector);
    }
    nested(disk, sector, &mut table);
    Some(table)
}

fn records(block: &[u8]) -> Option<Vec<Record<'_>>> {
    let records = block.has(510, &[0x55, 0xaa]).then(|| &block[446..510])?;
    Some(records.chunks_exact(16).map(Record).collect())
}

fn add(table: &mut Table, number: u32, record: Record, start: u64, sector: u64) {
    let kind = record.kind();
    let uuid = (table.id != "00000000").then(|| format!("{}-{number:02x}", table.id));
    table.add(Entry {
        kind: Some(format!("0x{kind:02x}")),
        uuid,
        is_container: record.is_extended(),
        ..entry(number, start, record.length(), sector)
    });
}

/// The logical partitions of an extended one, each with its first sector: every boot record
/// holds one, and the way to the next.
fn chain(disk: &dyn ReadAt, sector: u64, extended: Record, found: &mut Vec<([u8; 16], u64)>) {
    let (first, size) = (extended.start(), extended.length());
    let (mut here, mut here_size) = (first, size);
    for _ in 0..MAX_CHAIN {
        let block = &disk.bytes_at(here.saturating_mul(sector), 512)[..];
        let Some(records) = records(block) else {
            break;
        };
        for (index, record) in records.iter().enumerate() {
            if record.length() == 0 || record.is_extended() {
                continue;
            }
            let start = here.saturating_add(record.start());
            // The third and the fourth are sometimes garbage.
            let inside = record.start().saturating_add(record.length()) <= here_size
                && start >= first
                && start.saturating_add(record.length()) <= first.saturating_add(size);
            if (index < 2 || inside)
                && found.len() < MAX_PARTITIONS
                && let Ok(record) = record.0.try_into()
            {
                found.push((record, start));
            }
        }
        let next = records.iter().find(|r| r.length() != 0 && r.is_extended());
        let Some(next) = next else { break };
        here = first.saturating_add(next.start());
        here_size = next.length();
    }
}

/// The partitions of BSD labels inside, behind all others.
fn nested(disk: &dyn ReadAt, sector: u64, table: &mut Table) {
    let holders: Vec<Entry> = (table.partitions.iter())
        .filter(|entry| {
            let kind = entry.kind.as_deref().and_then(|kind| kind.get(2..));
            let kind = kind.and_then(|kind| u8::from_str_radix(kind, 16).ok());
            kind.is_some_and(|kind| BSD.contains(&kind))
        })
        .cloned()
        .collect();
    let last = table.partitions.iter().map(|entry| entry.number).max();
    let mut number = last.unwrap_or(0).max(4) + 1;
    for holder in holders {
        for mut inner in bsd::inside(disk, sector, &holder) {
            inner.number = number;
            number += 1;
            table.add(inner);
        }
    }
}
