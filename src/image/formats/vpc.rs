//! Virtual PC's and Hyper-V's VHD ("Virtual Hard Disk Image Format Specification", big-endian).
//!
//! A fixed disk has its footer at the end only; a dynamic disk has a copy of it at the start, and
//! a block allocation table (BAT), which the dynamic disk header points to. The limits are those of
//! vpc_open in QEMU's block/vpc.c.

use super::{FormatError, ReadAt, each_entry, read};
use crate::image::format::Format;
use crate::linux::bytes::Fields;

const SECTOR: u64 = 512;
/// VHD_MAX_SECTORS: 2040 GiB.
const MAX_SECTORS: u64 = 0xff00_0000;
/// The largest geometry: images that have it may be larger (VHD_MAX_GEOMETRY).
const MAX_GEOMETRY: u64 = 65535 * 16 * 255;
/// A block that was never written.
const UNUSED: u32 = u32::MAX;

/// The footer, and whether it is the copy at the start.
fn footer(file: &(impl ReadAt + ?Sized), length: u64) -> Result<([u8; 512], bool), FormatError> {
    let first: [u8; 512] = read(file, 0, Format::Vpc)?;
    if first.starts_with(b"conectix") {
        return Ok((first, true));
    }
    let end = length.checked_sub(SECTOR);
    let last: [u8; 512] = read(file, end.unwrap_or(u64::MAX), Format::Vpc)?;
    match last.starts_with(b"conectix") {
        true => Ok((last, false)),
        false => Err(FormatError::NotThis(Format::Vpc)),
    }
}

/// The size of the disk by its cylinders, heads and sectors, in bytes.
fn by_geometry(footer: &[u8; 512]) -> u64 {
    u64::from(footer.be16(56)) * u64::from(footer[58]) * u64::from(footer[59]) * SECTOR
}

/// The size in bytes. For Virtual PC ("vpc ") and old versions of QEMU ("qemu") it is that of the
/// geometry; the "current size" of the footer is larger there. All others mean the current size.
fn size(footer: &[u8; 512]) -> u64 {
    let is_old = footer.has(28, b"vpc ") || footer.has(28, b"qemu");
    match by_geometry(footer) {
        geometry if is_old && geometry != MAX_GEOMETRY * SECTOR => geometry,
        _ => footer.be64(48) / SECTOR * SECTOR,
    }
}

/// How many bytes less than [`virtual_size`] a QEMU before 10.0 shows: it takes the geometry, too,
/// where it does not know the program that made the image.
pub(super) fn lost_by_old_qemu(file: &(impl ReadAt + ?Sized), length: u64) -> Option<u64> {
    let (footer, _) = footer(file, length).ok()?;
    let known: [&[u8]; 5] = [b"win ", b"qem2", b"d2v ", b"CTXS", b"tap\0"];
    if known.iter().any(|creator| footer.has(28, creator))
        || by_geometry(&footer) == MAX_GEOMETRY * SECTOR
    {
        return None;
    }
    size(&footer).checked_sub(by_geometry(&footer))
}

pub(super) fn virtual_size(file: &(impl ReadAt + ?Sized), length: u64) -> Result<u64, FormatError> {
    let (footer, is_dynamic) = footer(file, length)?;
    let size = size(&footer);
    match (footer.be32(60), is_dynamic) {
        (4, _) => return Err(FormatError::HasParent(Format::Vpc)),
        (2, false) if size > length - SECTOR => return Err(FormatError::CutOff(Format::Vpc)),
        (2, false) | (3, true) => {}
        _ => {
            return Err(malformed(
                "the disk type does not match the position of the footer",
            ));
        }
    }
    if size / SECTOR > MAX_SECTORS {
        return Err(FormatError::DiskTooLarge);
    }
    if is_dynamic {
        check_blocks(file, length, &footer, size)?;
    }
    // "The one's complement of the sum of all the bytes in the footer without the checksum".
    let sum = |bytes: &[u8]| bytes.iter().copied().map(u32::from).sum::<u32>();
    match footer.be32(64) == !(sum(&footer) - sum(&footer[64..68])) {
        true => Ok(size),
        false => Err(malformed("the checksum of its footer is wrong")),
    }
}

/// Checks the dynamic disk header, and that all blocks are in the file.
fn check_blocks(
    file: &(impl ReadAt + ?Sized),
    length: u64,
    footer: &[u8; 512],
    size: u64,
) -> Result<(), FormatError> {
    let header: [u8; 512] = read(file, footer.be64(16), Format::Vpc)?;
    if !header.starts_with(b"cxsparse") {
        return Err(malformed("there is no dynamic disk header"));
    }
    let (table, entries, block) = (header.be64(16), header.be32(28), header.be32(32));
    if !block.is_power_of_two() || block < 512 {
        return Err(malformed("its blocks are not of a power of two bytes"));
    }
    let (entries, block) = (u64::from(entries), u64::from(block));
    if entries * block < size || entries > i32::MAX as u64 / 4 {
        return Err(malformed(
            "its block allocation table is too small or too large",
        ));
    }
    let cut_off = FormatError::CutOff(Format::Vpc);
    let length = length.next_multiple_of(SECTOR);
    match table.checked_add(entries * 4) {
        Some(end) if end <= length => {}
        _ => return Err(cut_off),
    }
    // In front of each block is a bitmap of its sectors, rounded up to a sector.
    let bitmap = (block / SECTOR / 8).next_multiple_of(SECTOR);
    let mut is_whole = true;
    each_entry(file, table, entries, Format::Vpc, |_, entry: [u8; 4]| {
        let at = entry.be32(0);
        is_whole &= at == UNUSED || u64::from(at) * SECTOR + bitmap + block <= length;
    })?;
    match is_whole {
        true => Ok(()),
        false => Err(cut_off),
    }
}

fn malformed(what: &'static str) -> FormatError {
    let format = Format::Vpc;
    FormatError::Malformed { format, what }
}
