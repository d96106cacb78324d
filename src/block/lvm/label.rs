//! The label of an LVM physical volume, and the metadata text that it points to (LVM2,
//! lib/format_text/layout.h). Every offset and length is checked against the device.

use super::super::device_reader::ReadAt;
use crate::linux::bytes::Fields;

/// The label is in one of the first four sectors, which are always counted as 512 bytes.
const SECTORS: usize = 4;
const SECTOR: usize = 512;
/// Limit on the metadata. LVM's default area is 1 MiB; thousands of volumes need more.
const MAX_TEXT: u64 = 8 << 20;
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
/// The size of an area's header; a ring buffer of text follows it.
const AREA_HEAD: u64 = 512;
/// The flag of a copy that must not be used.
const IGNORED: u32 = 1;

/// The label and what follows it, in the first bytes of a device.
pub(crate) fn find(head: &[u8]) -> Option<&[u8]> {
    let mut labels = (0..SECTORS).filter_map(|sector| head.get(sector * SECTOR..));
    labels.find(|label| label.has(0, b"LABELONE") && label.has(24, b"LVM2 001"))
}

/// The identifier of the physical volume, as LVM prints it: 6-4-4-4-4-4-6.
pub(crate) fn identifier(label: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(label.part(label.le32(20) as usize, 32)).ok()?;
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    Some(hyphenated(text))
}

fn hyphenated(text: &str) -> String {
    let parts = [0..6, 6..10, 10..14, 14..18, 18..22, 22..26, 26..32];
    parts
        .map(|part| text.get(part).unwrap_or_default())
        .join("-")
}

pub fn metadata(device: &dyn ReadAt) -> Option<String> {
    let head = device.bytes_at(0, SECTORS * SECTOR);
    let label = find(&head)?;
    // After the identifier and the size come the data areas and then the metadata areas: two
    // lists of offset and size, each ended by zeros.
    let mut at = label.le32(20) as usize + 40;
    while label.le64(at) != 0 {
        at += 16;
    }
    at += 16;
    while label.le64(at) != 0 {
        if let Some(text) = area(device, label.le64(at), label.le64(at + 8)) {
            return Some(text);
        }
        at += 16;
    }
    None
}

fn area(device: &dyn ReadAt, start: u64, size: u64) -> Option<String> {
    let head = device.bytes_at(start, AREA_HEAD as usize);
    if !head.has(4, AREA_MAGIC) {
        return None;
    }
    // The first location is the committed text.
    let (offset, length, flags) = (head.le64(40), head.le64(48), head.le32(60));
    let ring = size.checked_sub(AREA_HEAD)?;
    let sane = flags & IGNORED == 0
        && offset >= AREA_HEAD
        && offset < size
        && length <= ring.min(MAX_TEXT);
    if !sane || length == 0 {
        return None;
    }
    // Text that does not fit before the end continues after the header.
    let first = length.min(size - offset);
    let mut text = device.bytes_at(start.checked_add(offset)?, first as usize);
    if first < length {
        let rest = device.bytes_at(start + AREA_HEAD, (length - first) as usize);
        text.extend_from_slice(&rest);
    }
    let end = text.iter().position(|byte| *byte == 0);
    text.truncate(end.unwrap_or(text.len()));
    String::from_utf8(text).ok()
}
