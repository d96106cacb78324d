//! Atari root sectors (block/partitions/atari.c): four entries, of which one may lead to a chain
//! of others, or eight more of ICD's.

use super::super::device_reader::ReadAt;
use super::super::ids::lossy;
use super::{Entry, MAX_PARTITIONS, Table, entry};
use crate::linux::bytes::Fields;
use crate::protocol::disks::TableKind;

/// Where the four entries and those of ICD are, and the size of one.
const ENTRIES: usize = 0x1c6;
const ICD: usize = 0x156;
const SIZE: usize = 12;
/// An entry that leads to further root sectors.
const EXTENDED: &[u8] = b"XGM";
/// What ICD's entries can be.
const ICD_KINDS: [&[u8]; 5] = [b"GEM", b"BGM", b"RAW", b"LNX", b"SWP"];

#[derive(Clone, Copy)]
struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    fn in_sector(sector: &'a [u8], at: usize, index: usize) -> Self {
        Self(sector.part(at + index * SIZE, SIZE))
    }
    fn is_active(self) -> bool {
        self.0.first().is_some_and(|flags| flags & 1 != 0)
    }
    fn kind(self) -> &'a [u8] {
        self.0.part(1, 3)
    }
    fn start(self) -> u64 {
        u64::from(self.0.be32(4))
    }
    fn length(self) -> u64 {
        u64::from(self.0.be32(8))
    }
    fn is_sane(self, disk: u64) -> bool {
        self.is_active()
            && self.kind().iter().all(u8::is_ascii_alphanumeric)
            && self.start().saturating_add(self.length()) <= disk
            && self.length() > 0
    }
}

/// There is no magic number: one entry at least must make sense, and those that are active all.
pub(super) fn read(disk: &dyn ReadAt) -> Option<Table> {
    let sector = &disk.bytes_at(0, 512)[..];
    let size = u64::from(sector.get_be32(0x1c2)?).min(disk.size() / 512);
    let all = [0, 1, 2, 3].map(|index| Record::in_sector(sector, ENTRIES, index));
    let mut active = all.iter().filter(|record| record.is_active()).peekable();
    active.peek()?;
    active.all(|record| record.is_sane(size)).then_some(())?;
    let mut table = Table::new(TableKind::Atari);
    let mut number = 1;
    let mut has_chain = false;
    for record in all {
        if record.is_active() && record.kind() == EXTENDED {
            has_chain = true;
            number = chain(disk, record.start(), number, &mut table);
        } else if record.is_active() {
            add(&mut table, number, record, 0);
        }
        number += 1;
    }
    let icd = |index| Record::in_sector(sector, ICD, index);
    if !has_chain && ICD_KINDS.contains(&icd(0).kind()) {
        for record in (0..8).map(icd) {
            if record.is_sane(size) && ICD_KINDS.contains(&record.kind()) {
                add(&mut table, number, record, 0);
            }
            number += 1;
        }
    }
    Some(table)
}

/// The partitions of the root sectors from `first` on, numbered from `number`. Returns the last
/// number.
fn chain(disk: &dyn ReadAt, first: u64, mut number: u32, table: &mut Table) -> u32 {
    let mut here = first;
    for _ in 0..MAX_PARTITIONS {
        let sector = &disk.bytes_at(here.saturating_mul(512), 512)[..];
        let [own, next] = [0, 1].map(|index| Record::in_sector(sector, ENTRIES, index));
        if !own.is_active() {
            table.warn("its chain of partitions is broken");
            break;
        }
        add(table, number, own, here);
        if !next.is_active() || next.kind() != EXTENDED {
            break;
        }
        here = first.saturating_add(next.start());
        number += 1;
    }
    number
}

fn add(table: &mut Table, number: u32, record: Record, from: u64) {
    table.add(Entry {
        kind: Some(lossy(record.kind())),
        ..entry(
            number,
            from.saturating_add(record.start()),
            record.length(),
            512,
        )
    });
}
