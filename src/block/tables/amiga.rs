//! Amiga rigid disk blocks (block/partitions/amiga.c): a list of blocks, one a partition.

use super::super::device_reader::ReadAt;
use super::super::ids::lossy;
use super::{Entry, MAX_PARTITIONS, Table, entry};
use crate::linux::bytes::Fields;
use crate::protocol::disks::TableKind;

/// The first block is one of so many.
const PLACES: u64 = 16;

pub(super) fn read(disk: &dyn ReadAt) -> Option<Table> {
    let first = (0..PLACES)
        .map(|place| disk.bytes_at(place * 512, 256))
        .find(|block| block.has(0, b"RDSK"))?;
    let size = match first.be32(16) {
        size @ (512 | 1024 | 2048 | 4096) => u64::from(size),
        _ => 512,
    };
    let mut table = Table::new(TableKind::Amiga);
    let mut next = first.be32(28);
    for number in 1..=MAX_PARTITIONS as u32 {
        if next == u32::MAX {
            break;
        }
        let part = disk.bytes_at(u64::from(next).saturating_mul(size), 256);
        if !part.has(0, b"PART") {
            table.warn("its list of partitions is broken");
            break;
        }
        next = part.be32(16);
        // The environment: long words from byte 128 on.
        let field = |index: usize| u64::from(part.be32(128 + index * 4));
        let cylinder = field(3).saturating_mul(field(5));
        let cylinders = field(10).saturating_add(1).saturating_sub(field(9));
        let name = part.part(
            37,
            usize::from(part.part(36, 1).first().map_or(0, |n| *n)).min(31),
        );
        table.add(Entry {
            label: Some(lossy(name)).filter(|name| !name.is_empty()),
            kind: Some(format!("0x{:08x}", part.be32(128 + 16 * 4))),
            ..entry(
                number,
                field(9).saturating_mul(cylinder),
                cylinders.saturating_mul(cylinder),
                // Sectors of the file system, in long words.
                field(1).saturating_mul(4).max(512),
            )
        });
    }
    Some(table)
}
