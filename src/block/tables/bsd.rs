//! BSD disk labels: on a whole disk (its first sectors), or inside a partition of an MBR.

use super::super::device_reader::ReadAt;
use super::{Entry, Table, entry};
use crate::linux::bytes::Fields;
use crate::protocol::disks::TableKind;

const MAGIC: u32 = 0x8256_4557;
/// Where the label is: behind the boot sector, or inside it (Alpha; HP-PA).
const PLACES: [u64; 3] = [512, 64, 128];
/// As the kernel has it; OpenBSD's labels have the most.
const MAX_PARTITIONS: usize = 18;

/// The label of a disk.
pub(super) fn read(disk: &dyn ReadAt) -> Option<Table> {
    let label = PLACES.into_iter().find_map(|at| label(disk, at))?;
    let mut table = Table::new(TableKind::Bsd);
    for (number, part) in (1..).zip(parts(&label)) {
        if part.bytes > 0 {
            table.add(Entry { number, ..part });
        }
    }
    Some(table)
}

/// The partitions of a label inside `holder`, without numbers.
pub(super) fn inside(disk: &dyn ReadAt, sector: u64, holder: &Entry) -> Vec<Entry> {
    let at = holder.start.saturating_add(sector);
    let Some(label) = label(disk, at) else {
        return Vec::new();
    };
    let unused = 0;
    let mut found: Vec<_> = parts(&label)
        .zip(label.get(148..).unwrap_or_default().chunks_exact(16))
        .filter(|(part, bytes)| bytes[12] != unused && part.bytes > 0)
        .map(|(part, _)| part)
        .collect();
    // FreeBSD counts from the beginning of the partition, the others from that of the disk.
    if holder.kind.as_deref() == Some("0xa5") && found.iter().any(|part| part.start < holder.start)
    {
        for part in &mut found {
            part.start = part.start.saturating_add(holder.start);
        }
    }
    let (Some(end), start) = (holder.end(), holder.start) else {
        return Vec::new();
    };
    found.retain(|part| {
        let whole = part.start == start && part.bytes == holder.bytes;
        !whole && part.start >= start && part.end().is_some_and(|last| last <= end)
    });
    found
}

fn label(disk: &dyn ReadAt, at: u64) -> Option<Vec<u8>> {
    let label = disk.bytes_at(at, 148 + 16 * MAX_PARTITIONS);
    (label.le32(0) == MAGIC && label.le32(132) == MAGIC).then_some(label)
}

fn parts(label: &[u8]) -> impl Iterator<Item = Entry> {
    let count = usize::from(label.le16(138)).min(MAX_PARTITIONS);
    let sector = match label.le32(40) {
        size @ (512 | 1024 | 2048 | 4096) => u64::from(size),
        _ => 512,
    };
    let bytes = label.get(148..).unwrap_or_default();
    bytes.chunks_exact(16).take(count).map(move |part| Entry {
        kind: Some(format!("0x{:02x}", part[12])),
        ..entry(0, u64::from(part.le32(4)), u64::from(part.le32(0)), sector)
    })
}
