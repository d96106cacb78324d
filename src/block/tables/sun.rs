//! Sun disk labels (block/partitions/sun.c).

use super::super::device_reader::ReadAt;
use super::{Entry, Table, entry};
use crate::linux::bytes::Fields;
use crate::protocol::disks::TableKind;

const MAGIC: u16 = 0xdabe;
const SANE: u32 = 0x600d_deee;

pub(super) fn read(disk: &dyn ReadAt) -> Option<Table> {
    let block = &disk.bytes_at(0, 512)[..];
    (block.be16(508) == MAGIC).then_some(())?;
    let words = block.chunks_exact(2).map(|word| word.be16(0));
    let mut table = Table::new(TableKind::Sun);
    if words.fold(0, |sum, word| sum ^ word) != 0 {
        table.warn("the checksum of the label is wrong");
        return Some(table);
    }
    let cylinder = u64::from(block.be16(436)) * u64::from(block.be16(438));
    // Labels of old systems have no table of types.
    let has_types = block.be32(188) == SANE && block.be32(128) == 1;
    for index in 0..8 {
        let at = 444 + index * 8;
        let (start, length) = (block.be32(at), u64::from(block.be32(at + 4)));
        if length > 0 {
            let kind = has_types.then(|| format!("0x{:02x}", block.be16(142 + index * 4)));
            table.add(Entry {
                kind,
                ..entry(index as u32 + 1, u64::from(start) * cylinder, length, 512)
            });
        }
    }
    Some(table)
}
