//! The formats whose header has all that is needed at fixed offsets: vdi, qed, parallels.
//!
//! One sector of each is read, and for parallels the magic number of an extension. The limits are
//! those of QEMU's functions that open such an image.

use super::{FormatError, MAX_OFFSET, ReadAt, read};
use crate::image::format::Format;
use crate::linux::bytes::Fields;

/// VirtualBox. Offsets and limits as in QEMU's block/vdi.c, VdiHeader and vdi_open.
pub(super) fn vdi(file: &(impl ReadAt + ?Sized)) -> Result<u64, FormatError> {
    /// QEMU reads blocks of this size only.
    const BLOCK: u32 = 1 << 20;
    /// VDI_BLOCKS_IN_IMAGE_MAX.
    const MAX_BLOCKS: u32 = ((1 << 31) - 512) / 4;

    let header: [u8; 512] = read(file, 0, Format::Vdi)?;
    if header.le32(0x40) != 0xbeda_107f {
        return Err(FormatError::NotThis(Format::Vdi));
    }
    let version = header.le32(0x44);
    if version != 0x0001_0001 {
        let format = Format::Vdi;
        return Err(FormatError::Version { format, version });
    }
    // Image type 1 grows, 2 is preallocated; 3 (undo) and 4 (differencing) need a parent, as
    // does an image with a link or parent UUID.
    let has_link = header.part(0x1a8, 32) != [0; 32];
    if !matches!(header.le32(0x4c), 1 | 2) || has_link {
        return Err(FormatError::HasParent(Format::Vdi));
    }
    let malformed = |what| Err(malformed(Format::Vdi, what));
    let (map, data) = (header.le32(0x154), header.le32(0x158));
    if map % 512 != 0 || data % 512 != 0 {
        return malformed("its block map or its data does not start at a sector");
    }
    if header.le32(0x168) != 512 {
        return malformed("its sectors are not of 512 bytes");
    }
    if header.le32(0x178) != BLOCK {
        return malformed("its blocks are not of 1 MiB");
    }
    let (size, blocks) = (header.le64(0x170), header.le32(0x180));
    if size > i64::MAX as u64 - 512 {
        return Err(FormatError::DiskTooLarge);
    }
    if blocks > MAX_BLOCKS || size.next_multiple_of(512) > u64::from(blocks) * u64::from(BLOCK) {
        return malformed("its block map does not span the disk, or is too large");
    }
    Ok(size)
}

/// QEMU's enhanced disk (docs/interop/qed_spec.txt, little-endian). Limits as in block/qed.c,
/// bdrv_qed_do_open. `length` is that of the file.
pub(super) fn qed(file: &(impl ReadAt + ?Sized), length: u64) -> Result<u64, FormatError> {
    let header: [u8; 64] = read(file, 0, Format::Qed)?;
    if !header.starts_with(b"QED\0") {
        return Err(FormatError::NotThis(Format::Qed));
    }
    // Bit 0 of the features is QED_F_BACKING_FILE; 1 and 2 are known too.
    let features = header.le64(16);
    if features & 1 != 0 {
        return Err(FormatError::HasParent(Format::Qed));
    }
    let malformed = |what| Err(malformed(Format::Qed, what));
    if features & !7 != 0 {
        return malformed("it needs features that QEMU does not know");
    }
    let [cluster, table, clusters] = [4, 8, 12].map(|at| u64::from(header.le32(at)));
    if !cluster.is_power_of_two() || !(4 << 10..=64 << 20).contains(&cluster) {
        return malformed("its clusters are not of a power of two from 4 KiB to 64 MiB");
    }
    // A table of one cluster is allowed, but the check of its end in QEMU fails then.
    if !matches!(table, 2 | 4 | 8 | 16) {
        return malformed("its tables are not of 2, 4, 8 or 16 clusters");
    }
    let size = header.le64(48);
    let entries = table * cluster / 8;
    // QEMU's product has 64 bits, too.
    if !size.is_multiple_of(512) || size > (entries * cluster).wrapping_mul(entries) {
        return malformed("its virtual size is not one of whole sectors that its tables span");
    }
    if clusters > u64::from(u32::MAX) / cluster {
        return malformed("its header is too large");
    }
    let l1 = header.le64(40);
    let is_aligned = l1.is_multiple_of(cluster) && l1 >= clusters * cluster;
    match l1.checked_add((table - 1) * cluster) {
        Some(last) if is_aligned && last < length / cluster * cluster => Ok(size),
        Some(_) if is_aligned => Err(FormatError::CutOff(Format::Qed)),
        _ => malformed("its L1 table is misplaced"),
    }
}

/// Parallels (docs/interop/parallels.txt, little-endian). Only "WithouFreSpacExt" uses all
/// 64 bits of nb_sectors. Limits as in block/parallels.c, parallels_open.
pub(super) fn parallels(file: &(impl ReadAt + ?Sized)) -> Result<u64, FormatError> {
    /// "Format Extension", at the start of a cluster of its own.
    const EXTENSION: u64 = 0xAB23_4CEF_23DC_EA87;

    let header: [u8; 64] = read(file, 0, Format::Parallels)?;
    let sectors = if header.starts_with(b"WithouFreSpacExt") {
        header.le64(36)
    } else if header.starts_with(b"WithoutFreeSpace") {
        u64::from(header.le32(36))
    } else {
        return Err(FormatError::NotThis(Format::Parallels));
    };
    let format = Format::Parallels;
    let version = header.le32(16);
    if version != 2 {
        return Err(FormatError::Version { format, version });
    }
    let malformed = |what| Err(malformed(format, what));
    let (tracks, entries) = (header.le32(28), header.le32(32));
    if tracks == 0 || tracks > i32::MAX as u32 / 513 {
        return malformed("its clusters are of no sectors, or of too many");
    }
    if entries > i32::MAX as u32 / 4 {
        return malformed("its catalog is too large");
    }
    let extension = header.le64(56);
    if extension != 0 {
        let offset = extension.checked_mul(512).filter(|at| *at < MAX_OFFSET);
        if read::<8>(file, offset.unwrap_or(u64::MAX), format)?.le64(0) != EXTENSION {
            return malformed("its format extension is not where the header says");
        }
    }
    sectors.checked_mul(512).ok_or(FormatError::DiskTooLarge)
}

fn malformed(format: Format, what: &'static str) -> FormatError {
    FormatError::Malformed { format, what }
}
