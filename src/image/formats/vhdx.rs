//! Microsoft's vhdx ([MS-VHDX], little-endian): the virtual disk's size, by way of the
//! region table and the metadata region.
//!
//! It checks no checksums and replays no log: QEMU does both.

use super::{FormatError, ReadAt, read};
use crate::image::format::Format;
use crate::linux::bytes::Fields;

/// The two copies of the region table are at 192 KiB and 256 KiB.
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
/// Header and entries of a region table have 16 and 32 bytes; of a metadata table, 32 each.
const ENTRY: usize = 32;
/// As much of a table as is read: room for over 120 entries, where writers use 2 to 6.
const TABLE_PART: usize = 4096;

// GUIDs as they are on disk: three little-endian numbers, then eight bytes in order.
/// 8B7CA206-4790-4B9A-B8FE-575F050F886E, the metadata region.
const METADATA_REGION: u128 = 0x06A2_7C8B_9047_9A4B_B8FE_575F_050F_886E;
/// CAA16737-FA36-4D43-B3B6-33F0AA44E76B, "File Parameters".
const FILE_PARAMETERS: u128 = 0x3767_A1CA_36FA_434D_B3B6_33F0_AA44_E76B;
/// 2FA54224-CD1B-4876-B211-5DBED83BF4B8, "Virtual Disk Size".
const VIRTUAL_SIZE: u128 = 0x2442_A52F_1BCD_7648_B211_5DBE_D83B_F4B8;

/// The entry for `id` in a table whose entries start at `start`.
fn entry(table: &[u8], start: usize, count: usize, id: u128) -> Option<&[u8]> {
    table
        .get(start..)?
        .chunks_exact(ENTRY)
        .take(count)
        .find(|entry| entry.starts_with(&id.to_be_bytes()))
}

pub(super) fn virtual_size(file: &(impl ReadAt + ?Sized)) -> Result<u64, FormatError> {
    let malformed = |what| FormatError::Malformed {
        format: Format::Vhdx,
        what,
    };
    let signature: [u8; 8] = read(file, 0, Format::Vhdx)?;
    if &signature != b"vhdxfile" {
        return Err(FormatError::NotThis(Format::Vhdx));
    }
    let mut regions: [u8; TABLE_PART] = read(file, REGION_TABLES[0], Format::Vhdx)?;
    if !regions.starts_with(b"regi") {
        regions = read(file, REGION_TABLES[1], Format::Vhdx)?;
    }
    if !regions.starts_with(b"regi") {
        return Err(malformed("there is no region table"));
    }
    let region = entry(&regions, 16, regions.le32(8) as usize, METADATA_REGION)
        .ok_or_else(|| malformed("there is no metadata region"))?;
    let base = region.le64(16);

    let metadata: [u8; TABLE_PART] = read(file, base, Format::Vhdx)?;
    if !metadata.starts_with(b"metadata") {
        return Err(malformed("the metadata region has no table"));
    }
    let count = usize::from(metadata.le16(10));
    let item = |id, what| {
        let entry = entry(&metadata, 32, count, id).ok_or_else(|| malformed(what))?;
        let at = base
            .checked_add(u64::from(entry.le32(16)))
            .ok_or_else(|| malformed(what))?;
        read::<8>(file, at, Format::Vhdx)
    };
    let parameters = item(FILE_PARAMETERS, "the file parameters are missing")?;
    // Bit 1: HasParent.
    if parameters.le32(4) & 2 != 0 {
        return Err(FormatError::HasParent(Format::Vhdx));
    }
    let size = item(VIRTUAL_SIZE, "the virtual disk size is missing")?;
    Ok(u64::from_le_bytes(size))
}
