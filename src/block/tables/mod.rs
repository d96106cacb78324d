//! Partition tables: which one a disk holds, and where its partitions begin and end. Pure: the
//! kernel's own scan is not asked, since it refuses tables that other tools still read (a GPT of
//! another sector size, or with one good copy).
//!
//! Numbers are those of the Linux kernel (block/partitions) and of sfdisk(8), so that
//! `/dev/vda5` and `PARTUUID=` mean the same everywhere.

mod amiga;
mod atari;
mod bsd;
mod gpt;
mod mac;
mod mbr;
mod named;
mod sgi;
mod sun;

use super::device_reader::ReadAt;
use crate::protocol::disks::TableKind;

/// The kernel gives a disk at most 255 partitions (DISK_MAX_PARTS).
const MAX_PARTITIONS: usize = 255;

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub kind: TableKind,
    /// The disk's GUID, or the eight hexadecimal digits of an MBR; empty where the kind has none.
    pub id: String,
    /// Which copy or sector size was believed, where it is not the usual one.
    pub evidence: Option<String>,
    /// By number.
    pub partitions: Vec<Entry>,
    /// What is wrong with the table, one sentence each.
    pub warnings: Vec<String>,
}

impl Table {
    fn new(kind: TableKind) -> Self {
        Self {
            kind,
            id: String::new(),
            evidence: None,
            partitions: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a partition, unless it has no bytes, or there are too many.
    fn add(&mut self, entry: Entry) {
        if entry.bytes > 0 && self.partitions.len() < MAX_PARTITIONS {
            self.partitions.push(entry);
        }
    }

    /// Names what does not lie on the disk as a whole.
    fn check_ends(&mut self, size: u64) {
        let beyond = |entry: &&Entry| entry.end().is_none_or(|end| end > size);
        let numbers: Vec<_> = (self.partitions.iter())
            .filter(beyond)
            .map(|entry| entry.number.to_string())
            .collect();
        match &numbers[..] {
            [] => {}
            [one] => self.warn(format!("partition {one} ends behind the end of the disk")),
            _ => self.warn(format!(
                "partitions {} end behind the end of the disk",
                numbers.join(", ")
            )),
        }
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }
}

/// One partition. Places are in bytes from the beginning of the disk, and may lie behind its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub number: u32,
    pub start: u64,
    pub bytes: u64,
    /// A GUID in lower case, `0x83`, or the name that the table gives.
    pub kind: Option<String>,
    pub label: Option<String>,
    /// What `PARTUUID=` names.
    pub uuid: Option<String>,
    /// An extended partition: it holds others and no content of its own.
    pub is_container: bool,
}

impl Entry {
    /// The first byte behind it.
    pub fn end(&self) -> Option<u64> {
        self.start.checked_add(self.bytes)
    }
}

/// The partition table of a disk whose logical sectors have `sector` bytes. `has_content` says
/// that the disk as a whole holds a file system: a GPT of which only the backup is left is then
/// what a former use of the disk left behind.
pub fn read(disk: &dyn ReadAt, sector: u64, has_content: bool) -> Option<Table> {
    let mbr = mbr::read(disk, sector);
    let protective = mbr.as_ref().is_some_and(mbr::is_protective);
    // Whoever made an MBR with partitions of its own has done away with an older GPT.
    let wins = |mbr: &Table| !protective && !mbr.partitions.is_empty();
    let mut table = match mbr {
        Some(mut mbr) if wins(&mbr) => {
            if gpt::is_there(disk, sector) {
                mbr.warn("it also holds a GPT, which its MBR does not mention");
            }
            Some(mbr)
        }
        _ => gpt::read(disk, sector, protective, has_content)
            .or_else(|| sun::read(disk))
            .or_else(|| sgi::read(disk))
            .or_else(|| mac::read(disk))
            .or_else(|| amiga::read(disk))
            .or_else(|| bsd::read(disk))
            .or_else(|| named::read(disk))
            .or_else(|| atari::read(disk).filter(|_| !has_content)),
    }?;
    table.check_ends(disk.size());
    Some(table)
}

/// A field that holds `start` and `length` in sectors, as bytes.
fn entry(number: u32, start: u64, length: u64, sector: u64) -> Entry {
    Entry {
        number,
        start: start.saturating_mul(sector),
        bytes: length.saturating_mul(sector),
        ..Entry::default()
    }
}
