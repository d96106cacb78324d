//! HFS and HFS+ (Apple Technical Note TN1150): the label is the name of the root folder, the first
//! record of the catalog.

use super::device_reader::ReadAt;
use super::ids::lossy;
use crate::linux::bytes::Fields;
use crate::protocol::disks::{Content, Kind};

pub(super) fn probe(device: &dyn ReadAt) -> Option<Content> {
    let header = device.bytes_at(1024, 512);
    // The size of a block is a multiple of a sector's.
    let size = header.be32(20);
    if header.has(0, b"BD") && size > 0 && size.is_multiple_of(512) {
        // It may be nothing but the wrapper of an HFS+.
        if header.has(124, b"H+") {
            let first = u64::from(header.be16(28));
            let start = u64::from(header.be16(126)).saturating_mul(u64::from(size));
            let at = first.saturating_mul(512).saturating_add(start);
            return plus(device, at);
        }
        let length = header.part(36, 1).first().map_or(0, |n| usize::from(*n));
        let label = lossy(header.part(37, length.min(27)));
        return Some(Content {
            kind: Kind::Hfs,
            uuid: None,
            label: (!label.is_empty()).then_some(label),
            usage: None,
        });
    }
    plus(device, 0)
}

fn plus(device: &dyn ReadAt, start: u64) -> Option<Content> {
    let header = device.bytes_at(start.saturating_add(1024), 512);
    let is_one = header.has(0, b"H+") || header.has(0, b"HX");
    (is_one && matches!(header.be16(2), 4 | 5)).then_some(())?;
    let label = label(device, start, &header);
    Some(Content {
        kind: Kind::Hfsplus,
        uuid: None,
        label: label.filter(|label| !label.is_empty()),
        usage: None,
    })
}

fn label(device: &dyn ReadAt, start: u64, header: &[u8]) -> Option<String> {
    let size = u64::from(header.be32(40));
    // The first extent of the catalog file.
    let catalog = u64::from(header.be32(272 + 16))
        .checked_mul(size)?
        .checked_add(start)?;
    let tree = device.bytes_at(catalog, 64);
    let (leaf, node) = (u64::from(tree.be32(14 + 10)), u64::from(tree.be16(14 + 18)));
    let record = device.bytes_at(catalog.checked_add(leaf.checked_mul(node)?)?, 600);
    // Its key: the parent of the root folder, and a name.
    (record.be32(16) == 1).then_some(())?;
    let length = usize::from(record.be16(20)).min(255);
    let units = record.part(22, length * 2).chunks_exact(2);
    let units = units.map(|unit| unit.be16(0)).take_while(|unit| *unit != 0);
    let units: Vec<_> = units.collect();
    Some(String::from_utf16_lossy(&units))
}
