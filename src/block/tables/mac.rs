//! Apple partition maps (block/partitions/mac.c): a block for each partition, the map's own
//! first.

use super::super::device_reader::ReadAt;
use super::super::ids::lossy;
use super::{Entry, MAX_PARTITIONS, Table, entry};
use crate::linux::bytes::Fields;
use crate::protocol::disks::TableKind;

pub(super) fn read(disk: &dyn ReadAt) -> Option<Table> {
    let block = &disk.bytes_at(0, 512)[..];
    block.has(0, b"ER").then_some(())?;
    let sector = match block.be16(2) {
        size @ (512 | 1024 | 2048 | 4096) => u64::from(size),
        _ => 512,
    };
    let map = |number: u32| disk.bytes_at(u64::from(number) * sector, 136);
    let first = map(1);
    first.has(0, b"PM").then_some(())?;
    let count = first.be32(4).min(MAX_PARTITIONS as u32);
    let mut table = Table::new(TableKind::Mac);
    for number in 1..=count {
        let part = map(number);
        if !part.has(0, b"PM") {
            table.warn(format!("the map ends at entry {number} of {count}"));
            break;
        }
        let text = |at| Some(lossy(part.part(at, 32))).filter(|text| !text.is_empty());
        table.add(Entry {
            label: text(16),
            kind: text(48),
            ..entry(
                number,
                u64::from(part.be32(8)),
                u64::from(part.be32(12)),
                sector,
            )
        });
    }
    Some(table)
}
