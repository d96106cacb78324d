//! Microsoft's vhdx ([MS-VHDX], little-endian): the virtual disk's size, by way of the
//! region table and the metadata region; and whether all of its blocks are in the file.
//!
//! The limits are those of vhdx_open in QEMU's block/vhdx.c, which reads the first of the two
//! region tables only.

use super::vhdx_header::Header;
use super::{FormatError, ReadAt, crc32c, each_entry, read, read_into};
use crate::image::format::Format;
use crate::linux::bytes::Fields;

/// The first copy of the region table is at 192 KiB.
const REGION_TABLE: u64 = 192 << 10;
/// Header and entries of a region table have 16 and 32 bytes; of a metadata table, 32 each.
const ENTRY: usize = 32;
/// Each table fills 64 KiB: room for 2047 entries.
const TABLE: usize = 64 << 10;
const MAX_ENTRIES: usize = 2047;

// GUIDs as they are on disk: three little-endian numbers, then eight bytes in order.
/// 2DC27766-F623-4200-9D64-115E9BFD4A08, the block allocation table.
const BAT_REGION: u128 = 0x6677_C22D_23F6_0042_9D64_115E_9BFD_4A08;
/// 8B7CA206-4790-4B9A-B8FE-575F050F886E, the metadata region.
const METADATA_REGION: u128 = 0x06A2_7C8B_9047_9A4B_B8FE_575F_050F_886E;
/// CAA16737-FA36-4D43-B3B6-33F0AA44E76B, "File Parameters".
const FILE_PARAMETERS: u128 = 0x3767_A1CA_36FA_434D_B3B6_33F0_AA44_E76B;
/// 2FA54224-CD1B-4876-B211-5DBED83BF4B8, "Virtual Disk Size".
const VIRTUAL_SIZE: u128 = 0x2442_A52F_1BCD_7648_B211_5DBE_D83B_F4B8;
/// BECA12AB-B2E6-4523-93EF-C309E000C746, "Virtual Disk ID".
const DISK_ID: u128 = 0xAB12_CABE_E6B2_2345_93EF_C309_E000_C746;
/// 8141BF1D-A96F-4709-BA47-F233A8FAAB5F, "Logical Sector Size".
const LOGICAL_SECTOR: u128 = 0x1DBF_4181_6FA9_0947_BA47_F233_A8FA_AB5F;
/// CDA348C7-445D-4471-9CC9-E9885251C556, "Physical Sector Size".
const PHYSICAL_SECTOR: u128 = 0xC748_A3CD_5D44_7144_9CC9_E988_5251_C556;
/// A8D35F2D-B30B-454D-ABF7-D3D84834AB0C, "Parent Locator".
const PARENT_LOCATOR: u128 = 0x2D5F_D3A8_0BB3_4D45_ABF7_D3D8_4834_AB0C;

pub(super) fn virtual_size(file: &(impl ReadAt + ?Sized), length: u64) -> Result<u64, FormatError> {
    let signature: [u8; 8] = read(file, 0, Format::Vhdx)?;
    if &signature != b"vhdxfile" {
        return Err(FormatError::NotThis(Format::Vhdx));
    }
    let table = read_table(file, REGION_TABLE)?;
    if !table.starts_with(b"regi") {
        return Err(malformed("there is no region table"));
    }
    let entries = entries(&table, 16, table.le32(8) as usize)?;
    let region = |id| unique(&entries, id).map(Region::of);
    let metadata = region(METADATA_REGION).ok_or(malformed("there is no metadata region"))?;
    let bat = region(BAT_REGION).ok_or(malformed("there is no block allocation table"))?;
    let known = [METADATA_REGION, BAT_REGION];
    // Bit 0 of an entry's flags: a reader has to know the region.
    if has_unknown(&entries, &known, 28, 1) {
        return Err(malformed("it has regions that QEMU does not know"));
    }
    let disk = Disk::read(file, metadata.start)?;

    let header = Header::read(file)?;
    let mut regions = vec![Region {
        start: header.log_offset,
        length: u64::from(header.log_length),
    }];
    for region in entries.iter().map(|entry| Region::of(entry)) {
        if regions.iter().any(|other| other.overlaps(&region)) {
            return Err(malformed("its regions overlap"));
        }
        regions.push(region);
    }
    header.check_log(file)?;
    check_blocks(file, length, &disk, &bat, &regions)?;
    match crc32c::is_right(&table) {
        true => Ok(disk.size),
        false => Err(malformed("the checksum of its region table is wrong")),
    }
}

/// A part of the file, in bytes.
struct Region {
    start: u64,
    length: u64,
}

impl Region {
    /// By an entry of the region table.
    fn of(entry: &[u8]) -> Self {
        Self {
            start: entry.le64(16),
            length: u64::from(entry.le32(24)),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let end = |region: &Self| region.start.saturating_add(region.length);
        self.start < end(other) && other.start < end(self)
    }
}

fn read_table(file: &(impl ReadAt + ?Sized), offset: u64) -> Result<Vec<u8>, FormatError> {
    let mut table = vec![0; TABLE];
    read_into(file, &mut table, offset, Format::Vhdx)?;
    Ok(table)
}

/// The entries of a table, which start at `start`.
fn entries(table: &[u8], start: usize, count: usize) -> Result<Vec<&[u8]>, FormatError> {
    if count > MAX_ENTRIES {
        return Err(malformed("a table has more entries than fit"));
    }
    let all = table.get(start..).unwrap_or_default().chunks_exact(ENTRY);
    Ok(all.take(count).collect())
}

/// The entry for `id`, unless it is missing or there are two.
fn unique<'a>(entries: &[&'a [u8]], id: u128) -> Option<&'a [u8]> {
    let mut found = (entries.iter()).filter(|entry| entry.starts_with(&id.to_be_bytes()));
    match (found.next(), found.next()) {
        (Some(entry), None) => Some(entry),
        _ => None,
    }
}

/// Whether there is an entry that is none of `known` and whose flags, at `at`, have the bit
/// `required`.
fn has_unknown(entries: &[&[u8]], known: &[u128], at: usize, required: u32) -> bool {
    let is_known = |entry: &[u8]| known.iter().any(|id| entry.starts_with(&id.to_be_bytes()));
    let mut unknown = entries.iter().filter(|entry| !is_known(entry));
    unknown.any(|entry| entry.le32(at) & required != 0)
}

/// What the metadata region says of the disk, in bytes.
struct Disk {
    size: u64,
    block: u64,
}

impl Disk {
    /// Reads the metadata region that starts at `base`.
    fn read(file: &(impl ReadAt + ?Sized), base: u64) -> Result<Self, FormatError> {
        let table = read_table(file, base)?;
        if !table.starts_with(b"metadata") {
            return Err(malformed("the metadata region has no table"));
        }
        let entries = entries(&table, 32, usize::from(table.le16(10)))?;
        let item = |id, what| {
            let entry = unique(&entries, id).ok_or(malformed(what))?;
            let at = base.checked_add(u64::from(entry.le32(16)));
            read::<8>(file, at.ok_or(malformed(what))?, Format::Vhdx)
        };
        let parameters = item(FILE_PARAMETERS, "the file parameters are missing")?;
        // Bit 1: HasParent.
        let has_locator = unique(&entries, PARENT_LOCATOR).is_some();
        if parameters.le32(4) & 2 != 0 || has_locator {
            return Err(FormatError::HasParent(Format::Vhdx));
        }
        let size = item(VIRTUAL_SIZE, "the virtual disk size is missing")?.le64(0);
        let sector = item(LOGICAL_SECTOR, "the sector size is missing")?.le32(0);
        item(PHYSICAL_SECTOR, "the physical sector size is missing")?;
        item(DISK_ID, "the virtual disk ID is missing")?;
        let known = [
            FILE_PARAMETERS,
            VIRTUAL_SIZE,
            LOGICAL_SECTOR,
            PHYSICAL_SECTOR,
            DISK_ID,
        ];
        // Bit 2 of an entry's flags: a reader has to know the item.
        if has_unknown(&entries, &known, 24, 4) {
            return Err(malformed("it has metadata that QEMU does not know"));
        }
        if sector != 512 {
            return Err(malformed(
                "QEMU reads sectors of 512 bytes only, and it has others",
            ));
        }
        let block = parameters.le32(0);
        if !block.is_power_of_two() || !(1 << 20..=256 << 20).contains(&block) {
            return Err(malformed(
                "its blocks are not of a power of two from 1 to 256 MiB",
            ));
        }
        let block = u64::from(block);
        Ok(Self { size, block })
    }
}

/// Checks that the block allocation table `bat` spans the disk, and that the file has all blocks
/// where nothing else is.
fn check_blocks(
    file: &(impl ReadAt + ?Sized),
    length: u64,
    disk: &Disk,
    bat: &Region,
    regions: &[Region],
) -> Result<(), FormatError> {
    /// PAYLOAD_BLOCK_FULLY_PRESENT, the state in the lower bits.
    const PRESENT: u64 = 6;
    /// "The number of sectors in a chunk."
    const CHUNK_SECTORS: u64 = 1 << 23;

    let blocks = disk.size.div_ceil(disk.block);
    // After each chunk comes an entry for its bitmap.
    let entries = blocks + blocks.saturating_sub(1) / (CHUNK_SECTORS * 512 / disk.block);
    if entries > bat.length / 8 {
        return Err(malformed("its block allocation table is too small"));
    }
    let (mut is_whole, mut is_apart) = (true, true);
    each_entry(
        file,
        bat.start,
        entries,
        Format::Vhdx,
        |nth, entry: [u8; 8]| {
            let entry = entry.le64(0);
            if entry & 7 == PRESENT {
                let start = entry & !0xf_ffff;
                // The last block may be there in part.
                let part = disk.block.min(disk.size.wrapping_sub(nth * disk.block));
                is_whole &= start.saturating_add(part) <= length;
                let length = disk.block;
                let block = Region { start, length };
                is_apart &= !regions.iter().any(|region| region.overlaps(&block));
            }
        },
    )?;
    match (is_whole, is_apart) {
        (false, _) => Err(FormatError::CutOff(Format::Vhdx)),
        (_, false) => Err(malformed("a block overlaps a region")),
        _ => Ok(()),
    }
}

fn malformed(what: &'static str) -> FormatError {
    let format = Format::Vhdx;
    FormatError::Malformed { format, what }
}
