//! UDF (ECMA-167, OSTA UDF): the volume's label and identifier, and whether the ISO 9660 file
//! system on the same disc is only there to say that it is not the one to read.

use super::device_reader::ReadAt;
use crate::linux::bytes::Fields;
use crate::protocol::disks::{Content, Kind};

/// Sizes of a block of UDF.
const BLOCKS: [u64; 4] = [2048, 512, 4096, 1024];
/// Tags of descriptors (ECMA-167, 3/7.2.1).
const ANCHOR: u16 = 2;
const PRIMARY: u16 = 1;
const LOGICAL: u16 = 6;
const TERMINATING: u16 = 8;
/// A volume descriptor sequence has 16 blocks at least, and never many more.
const MAX_DESCRIPTORS: u64 = 64;

/// The volume recognition sequence (ECMA-167, 2/8), one of whose descriptors is an NSR.
pub(super) fn probe(device: &dyn ReadAt) -> Option<Content> {
    let sequence = [2048_u64, 4096].into_iter().any(|size| {
        (0..16).any(|number| {
            let found = device.bytes_at(32768 + number * size, 6);
            found.has(1, b"NSR02") || found.has(1, b"NSR03")
        })
    });
    sequence.then_some(())?;
    let (uuid, label) = BLOCKS
        .into_iter()
        .find_map(|block| names(device, block))
        .unwrap_or_default();
    Some(Content {
        kind: Kind::Udf,
        uuid,
        label,
        usage: None,
    })
}

/// Identifier and label, if the blocks have this size.
fn names(device: &dyn ReadAt, size: u64) -> Option<(Option<String>, Option<String>)> {
    let anchor = device.bytes_at(256 * size, 512);
    let is_anchor = anchor.le16(0) == ANCHOR && u64::from(anchor.le32(12)) == 256;
    is_anchor.then_some(())?;
    let (length, first) = (u64::from(anchor.le32(16)), u64::from(anchor.le32(20)));
    let (mut uuid, mut label) = (None, None);
    for number in 0..(length / size).min(MAX_DESCRIPTORS) {
        let block = device.bytes_at((first + number).saturating_mul(size), 512);
        match block.le16(0) {
            PRIMARY if uuid.is_none() => uuid = identifier(&dstring(block.part(72, 128))),
            LOGICAL if label.is_none() => label = Some(dstring(block.part(84, 128))),
            TERMINATING => break,
            _ => {}
        }
    }
    Some((uuid, label.filter(|label| !label.is_empty())))
}

/// A string with its compression in front and its length behind (OSTA UDF, 2.1.3), up to the first
/// NUL.
fn dstring(field: &[u8]) -> String {
    let length = field.last().map_or(0, |length| usize::from(*length));
    let text = field.get(1..length.min(field.len())).unwrap_or_default();
    let units: Vec<_> = match field.first() {
        Some(8) => text.iter().map(|byte| u16::from(*byte)).collect(),
        Some(16) => text.chunks_exact(2).map(|unit| unit.be16(0)).collect(),
        _ => Vec::new(),
    };
    let end = units.iter().position(|unit| *unit == 0);
    String::from_utf16_lossy(&units[..end.unwrap_or(units.len())])
}

/// The identifier that libblkid makes of the volume set's name: its first 16 characters where they
/// are hexadecimal digits, else 8 of them and the bytes of 4 more, else the bytes of 8.
fn identifier(set: &str) -> Option<String> {
    let bytes = set.as_bytes().get(..16.min(set.len()))?;
    (bytes.len() >= 8).then_some(())?;
    let digits = bytes.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let hex = |part: &[u8]| part.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let lower = |part: &[u8]| String::from_utf8_lossy(part).to_ascii_lowercase();
    Some(match digits {
        16 => lower(bytes),
        8.. => lower(&bytes[..8]) + &hex(bytes.get(8..12)?),
        _ => hex(&bytes[..8]),
    })
}

/// Whether an ISO 9660 file system holds nothing but a note: no directory, and at most two files.
pub(super) fn only_announces(device: &dyn ReadAt) -> bool {
    let volume = device.bytes_at(32768, 190);
    // The root directory's record: extent and length.
    let (extent, length) = (u64::from(volume.le32(158)), volume.le32(166));
    if length > 4096 {
        return false;
    }
    let directory = device.bytes_at(extent.saturating_mul(2048), length as usize);
    let (mut at, mut files) = (0, 0);
    while let Some(record) = directory.get(at..).filter(|rest| rest.len() > 33) {
        let length = usize::from(record[0]);
        if length == 0 {
            break;
        }
        let is_itself = record[32] == 1 && record[33] <= 1;
        let is_directory = record[25] & 2 != 0;
        match (is_itself, is_directory) {
            (true, _) => {}
            (false, true) => return false,
            (false, false) => files += 1,
        }
        at += length;
    }
    files <= 2
}
