//! SGI volume headers (block/partitions/sgi.c).

use super::super::device_reader::ReadAt;
use super::{Entry, Table, entry};
use crate::linux::bytes::Fields;
use crate::protocol::disks::TableKind;

const MAGIC: u32 = 0x0be5_a941;

pub(super) fn read(disk: &dyn ReadAt) -> Option<Table> {
    let block = &disk.bytes_at(0, 512)[..];
    (block.be32(0) == MAGIC).then_some(())?;
    let mut table = Table::new(TableKind::Sgi);
    let words = block.chunks_exact(4).map(|word| word.be32(0));
    if words.fold(0_u32, u32::wrapping_add) != 0 {
        table.warn("the checksum of the volume header is wrong");
        return Some(table);
    }
    for index in 0..16 {
        let at = 312 + index * 12;
        let (length, start) = (block.be32(at), block.be32(at + 4));
        if length > 0 {
            table.add(Entry {
                kind: Some(format!("0x{:02x}", block.be32(at + 8))),
                ..entry(index as u32 + 1, u64::from(start), u64::from(length), 512)
            });
        }
    }
    Some(table)
}
