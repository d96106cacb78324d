//! NTFS: the serial number is in the boot sector, the label an attribute of the file `$Volume`.

use super::device_reader::ReadAt;
use super::ids::utf16;
use crate::linux::bytes::Fields;
use crate::protocol::disks::{Content, Kind};

/// The number of `$Volume` in the master file table.
const VOLUME: u64 = 3;
/// The type of the attribute that holds the label (`$VOLUME_NAME`), and the mark behind the last.
const NAME: u32 = 0x60;
const END: u32 = 0xffff_ffff;

pub(super) fn probe(device: &dyn ReadAt, head: &[u8]) -> Option<Content> {
    head.has(3, b"NTFS    ").then_some(())?;
    Some(Content {
        kind: Kind::Ntfs,
        uuid: Some(format!("{:016X}", head.le64(0x48))),
        label: label(device, head).filter(|label| !label.is_empty()),
        usage: None,
    })
}

fn label(device: &dyn ReadAt, head: &[u8]) -> Option<String> {
    let sector = u64::from(head.le16(0x0b));
    // A large cluster, and a record smaller than one, are powers of two: the exponent, negated.
    let sectors = match head.get(0x0d)?.cast_signed() {
        few @ 1.. => u64::from(few.unsigned_abs()),
        exponent => 1_u64.checked_shl(u32::from(exponent.unsigned_abs()))?,
    };
    let cluster = sector.checked_mul(sectors)?;
    let record = match head.get(0x40)?.cast_signed() {
        clusters @ 1.. => cluster.checked_mul(u64::from(clusters.unsigned_abs()))?,
        exponent => 1_u64.checked_shl(u32::from(exponent.unsigned_abs()))?,
    };
    let table = head.le64(0x30).checked_mul(cluster)?;
    let at = table.checked_add(VOLUME.checked_mul(record)?)?;
    let record = &device.bytes_at(at, record.min(4096) as usize)[..];
    record.has(0, b"FILE").then_some(())?;
    let mut at = usize::from(record.le16(0x14));
    while record.le32(at) != NAME {
        let length = record.le32(at + 4) as usize;
        if record.le32(at) == END || length == 0 {
            return None;
        }
        at = at.checked_add(length).filter(|at| *at < record.len())?;
    }
    let (length, value) = (record.le32(at + 0x10), record.le16(at + 0x14));
    Some(utf16(
        record.part(at + usize::from(value), length.min(512) as usize),
    ))
}
