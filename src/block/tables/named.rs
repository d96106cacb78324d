//! Partition tables that are named, so that their disk does not look blank, and not read: no Linux
//! kernel of a distribution reads them.

use super::super::device_reader::ReadAt;
use super::Table;
use crate::linux::bytes::Fields;
use crate::protocol::disks::TableKind;

/// The place and the bytes by which each is known.
const TABLES: [(TableKind, usize, &[u8]); 2] = [
    // "IBMA" in EBCDIC.
    (TableKind::Aix, 0, b"\xc9\xc2\xd4\xc1"),
    (TableKind::Pc98, 4, b"IPL1"),
];

pub(super) fn read(disk: &dyn ReadAt) -> Option<Table> {
    let block = &disk.bytes_at(0, 512)[..];
    let (kind, ..) = TABLES.iter().find(|(_, at, magic)| block.has(*at, magic))?;
    let mut table = Table::new(*kind);
    table.warn(format!(
        "the partitions of its {} are not read",
        kind.name()
    ));
    Some(table)
}
