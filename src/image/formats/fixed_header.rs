//! The formats whose header has all that is needed at fixed offsets: vdi, vpc, qed, parallels.
//!
//! One sector of each is read.

use super::{FormatError, ReadAt, read};
use crate::image::format::Format;
use crate::linux::bytes::Fields;

/// VirtualBox. Offsets as in QEMU's block/vdi.c, VdiHeader.
pub(super) fn vdi(file: &(impl ReadAt + ?Sized)) -> Result<u64, FormatError> {
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
    Ok(header.le64(0x170))
}

/// Virtual PC and Hyper-V ("Virtual Hard Disk Image Format Specification", "Hard Disk Footer
/// Format", big-endian). A fixed disk has its footer at the end only; a dynamic disk has a
/// copy of it at the start.
///
/// This is the footer's "Current Size". QEMU takes the geometry instead for images of some
/// programs, which is never larger, so an overlay of the current size always spans the disk.
pub(super) fn vpc(file: &(impl ReadAt + ?Sized), length: u64) -> Result<u64, FormatError> {
    let mut footer: [u8; 512] = read(file, 0, Format::Vpc)?;
    let mut at_start = true;
    if !footer.starts_with(b"conectix") {
        let end = length
            .checked_sub(512)
            .ok_or(FormatError::Truncated(Format::Vpc))?;
        footer = read(file, end, Format::Vpc)?;
        at_start = false;
    }
    if !footer.starts_with(b"conectix") {
        return Err(FormatError::NotThis(Format::Vpc));
    }
    let size = footer.be64(48);
    match (footer.be32(60), at_start) {
        (2, false) if size > length - 512 => Err(FormatError::Truncated(Format::Vpc)),
        (2, false) | (3, true) => Ok(size),
        (4, _) => Err(FormatError::HasParent(Format::Vpc)),
        _ => Err(FormatError::Malformed {
            format: Format::Vpc,
            what: "the disk type does not match the position of the footer",
        }),
    }
}

/// QEMU's enhanced disk (docs/interop/qed_spec.txt, little-endian).
pub(super) fn qed(file: &(impl ReadAt + ?Sized)) -> Result<u64, FormatError> {
    let header: [u8; 64] = read(file, 0, Format::Qed)?;
    if !header.starts_with(b"QED\0") {
        return Err(FormatError::NotThis(Format::Qed));
    }
    // QED_F_BACKING_FILE, bit 0 of the features.
    if header.le64(16) & 1 != 0 {
        return Err(FormatError::HasParent(Format::Qed));
    }
    Ok(header.le64(48))
}

/// Parallels (docs/interop/parallels.txt, little-endian). Only "WithouFreSpacExt" uses all
/// 64 bits of nb_sectors.
pub(super) fn parallels(file: &(impl ReadAt + ?Sized)) -> Result<u64, FormatError> {
    let header: [u8; 64] = read(file, 0, Format::Parallels)?;
    let sectors = if header.starts_with(b"WithouFreSpacExt") {
        header.le64(36)
    } else if header.starts_with(b"WithoutFreeSpace") {
        u64::from(header.le32(36))
    } else {
        return Err(FormatError::NotThis(Format::Parallels));
    };
    match header.le32(16) {
        2 => sectors.checked_mul(512).ok_or(FormatError::DiskTooLarge),
        version => Err(FormatError::Version {
            format: Format::Parallels,
            version,
        }),
    }
}
