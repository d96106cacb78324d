//! A physical volume's label and where its metadata is (LVM2, lib/format_text/layout.h). Pure;
//! what is read is a stranger's, and everything that it says is checked against the device.

use crate::agent::disks::blocks::{Blocks, Fields};

/// The label is in one of the first four sectors, of 512 bytes always.
const SECTORS: usize = 4;
const SECTOR: usize = 512;
/// LVM's own default is 1 MiB; a group of thousands of volumes needs some more.
const LARGEST_TEXT: u64 = 8 << 20;
/// What begins a metadata area.
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
/// The head of a metadata area; the text is a ring behind it.
const AREA_HEAD: u64 = 512;
/// A copy of the metadata that is not to be used.
const IGNORED: u32 = 1;

/// The offset of the sector with the label.
pub fn find(head: &[u8]) -> Option<usize> {
    let places = (0..SECTORS).map(|sector| sector * SECTOR);
    let mut labels = places.filter(|at| head.has(*at, b"LABELONE"));
    labels.find(|at| head.has(at + 24, b"LVM2 001"))
}

/// The physical volume's identifier, as LVM prints it: 6-4-4-4-4-4-6.
pub fn identifier(label: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(label.part(label.u32(20) as usize, 32)).ok()?;
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

/// The newest metadata of a physical volume, as text.
pub fn metadata(device: &(impl Blocks + ?Sized)) -> Option<String> {
    let head = device.some(0, SECTORS * SECTOR);
    let sector = find(&head)?;
    let label = &head[sector..];
    // Behind the identifier and the size: data areas, and then metadata areas, each list of
    // offsets and sizes ended by zeros.
    let mut at = label.u32(20) as usize + 40;
    while label.u64(at) != 0 {
        at += 16;
    }
    at += 16;
    while label.u64(at) != 0 {
        if let Some(text) = area(device, label.u64(at), label.u64(at + 8)) {
            return Some(text);
        }
        at += 16;
    }
    None
}

fn area(device: &(impl Blocks + ?Sized), start: u64, size: u64) -> Option<String> {
    let head = device.some(start, AREA_HEAD as usize);
    if !head.has(4, AREA_MAGIC) {
        return None;
    }
    // The first place is what is committed.
    let (offset, length, flags) = (head.u64(40), head.u64(48), head.u32(60));
    let ring = size.checked_sub(AREA_HEAD)?;
    let sane = flags & IGNORED == 0
        && offset >= AREA_HEAD
        && offset < size
        && length <= ring.min(LARGEST_TEXT);
    if !sane || length == 0 {
        return None;
    }
    // What does not fit before the end goes on behind the head.
    let first = length.min(size - offset);
    let mut text = device.some(start.checked_add(offset)?, first as usize);
    if first < length {
        let rest = device.some(start + AREA_HEAD, (length - first) as usize);
        text.extend_from_slice(&rest);
    }
    let end = text.iter().position(|byte| *byte == 0);
    text.truncate(end.unwrap_or(text.len()));
    String::from_utf8(text).ok()
}
