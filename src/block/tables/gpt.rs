//! GUID partition tables (UEFI specification, section 5.3): two copies, each with checksums of
//! its header and of its entries.

use super::super::device_reader::ReadAt;
use super::super::ids::{guid, utf16};
use super::{Entry, MAX_PARTITIONS, Table, entry};
use crate::linux::bytes::Fields;
use crate::protocol::disks::TableKind;

const SIGNATURE: &[u8] = b"EFI PART";
/// Sizes of a logical sector that disks have.
const SECTORS: [u64; 4] = [512, 4096, 2048, 1024];
/// The most that the entries may take: what 1,024 of the usual size do.
const MAX_ENTRIES: u64 = 128 * 1024;

/// A header whose checksum is right.
struct Header {
    sector: u64,
    block: Vec<u8>,
    entries: Vec<u8>,
}

/// Whether there is a first header of any sector size, whatever its state.
pub(super) fn is_there(disk: &dyn ReadAt, sector: u64) -> bool {
    sizes(sector).any(|sector| disk.bytes_at(sector, 8) == SIGNATURE)
}

/// The table by the first copy that is whole. Without a protective MBR or a first copy, the
/// backup counts only on a disk that has no other content.
pub(super) fn read(
    disk: &dyn ReadAt,
    sector: u64,
    protective: bool,
    has_content: bool,
) -> Option<Table> {
    let mut found = None;
    for size in sizes(sector) {
        if let Some(header) = header(disk, size, size) {
            found = Some((header, None));
            break;
        }
    }
    if found.is_none() && (protective || !has_content) {
        found = sizes(sector).find_map(|size| {
            let last = (disk.size() / size).checked_sub(1)?.checked_mul(size)?;
            // The first copy may still say where the other one is, in a disk that has grown.
            let stated = &disk.bytes_at(size, 40)[..];
            let stated = stated
                .has(0, SIGNATURE)
                .then(|| stated.le64(32).checked_mul(size))
                .flatten();
            let places = [Some(last), stated].into_iter().flatten();
            let mut headers = places.filter_map(|at| header(disk, size, at));
            Some((
                headers.next()?,
                Some("its first copy is damaged; the backup is used"),
            ))
        });
    }
    let Some((header, evidence)) = found else {
        if !is_there(disk, sector) {
            return None;
        }
        let mut table = Table::new(TableKind::Gpt);
        table.warn("no copy of the GPT has a right checksum");
        return Some(table);
    };
    Some(table(disk, &header, sector, protective, evidence))
}

fn table(
    disk: &dyn ReadAt,
    header: &Header,
    sector: u64,
    protective: bool,
    evidence: Option<&str>,
) -> Table {
    let mut table = Table::new(TableKind::Gpt);
    table.id = guid(header.block.part(56, 16)).unwrap_or_default();
    if let Some(evidence) = evidence {
        table.evidence = Some(evidence.to_owned());
        table.warn(evidence);
    } else if header.sector != sector {
        table.evidence = Some(format!("it counts in sectors of {} bytes", header.sector));
    }
    if !protective {
        table.warn("its protective MBR is missing");
    }
    let end = (header.block.le64(32).checked_add(1)).and_then(|end| end.checked_mul(header.sector));
    if evidence.is_none() && end.is_none_or(|end| end > disk.size()) {
        table.warn("the disk ends before its partition table says: it was cut short");
    }
    let size = header.block.le32(84) as usize;
    let entries = header.entries.chunks_exact(size);
    for (number, bytes) in (1..).zip(entries).take(MAX_PARTITIONS) {
        let Some(kind) = guid(bytes.part(0, 16)) else {
            continue;
        };
        let (first, last) = (bytes.le64(32), bytes.le64(40));
        let length = last.saturating_add(1).saturating_sub(first);
        if length == 0 {
            continue;
        }
        let label = utf16(bytes.part(56, 72));
        table.add(Entry {
            kind: Some(kind),
            label: (!label.is_empty()).then_some(label),
            uuid: guid(bytes.part(16, 16)),
            ..entry(number, first, length, header.sector)
        });
    }
    table
}

/// The disk's own size first.
fn sizes(sector: u64) -> impl Iterator<Item = u64> {
    let others = SECTORS.into_iter().filter(move |size| *size != sector);
    std::iter::once(sector.max(512)).chain(others)
}

/// The header at `at`, if its checksums are right.
fn header(disk: &dyn ReadAt, sector: u64, at: u64) -> Option<Header> {
    let mut block = disk.bytes_at(at, 512);
    block.has(0, SIGNATURE).then_some(())?;
    let length = block.le32(12) as usize;
    (92..=block.len()).contains(&length).then_some(())?;
    block.truncate(length);
    let stated = block.le32(16);
    block[16..20].fill(0);
    (crc32fast::hash(&block) == stated).then_some(())?;
    (block.le64(24).checked_mul(sector) == Some(at)).then_some(())?;
    let (count, size) = (u64::from(block.le32(80)), u64::from(block.le32(84)));
    (size >= 128 && size.is_power_of_two()).then_some(())?;
    let bytes = count.checked_mul(size).filter(|all| *all <= MAX_ENTRIES)?;
    let entries = disk.bytes_at(block.le64(72).checked_mul(sector)?, bytes as usize);
    let whole = entries.len() as u64 == bytes && crc32fast::hash(&entries) == block.le32(88);
    whole.then_some(Header {
        sector,
        block,
        entries,
    })
}
