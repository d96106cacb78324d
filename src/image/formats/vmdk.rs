//! VMware's vmdk, as one sparse file with its descriptor inside.
//!
//! Everything that names another file is refused: a descriptor as a file of its own, an
//! extent of a split disk, a parent, and the header with capacity 0, which makes QEMU follow
//! the embedded descriptor (CVE-2022-47951: such names were used to read the host's files).
//! Offsets and limits as in QEMU's block/vmdk.c, VMDK4Header and vmdk_open_vmdk4.

use super::{FormatError, ReadAt, read, read_into};
use crate::image::format::Format;
use crate::linux::bytes::Fields;

/// The largest embedded descriptor that is read: QEMU's and VMware's have 20 sectors.
const MAX_DESCRIPTOR_SECTORS: u64 = 128;
/// gd_offset of a file whose valid header is the footer (VMDK4_GD_AT_END).
const AT_END: u64 = u64::MAX;
/// The largest grain, 1 GiB, in sectors; and the largest directory of grains, in entries.
const MAX_GRAIN: u64 = 0x20_0000;
const MAX_DIRECTORY: u64 = 32 << 20;
/// Types of the markers in a stream.
const FOOTER: u32 = 3;
const END_OF_STREAM: u32 = 0;

pub(super) fn virtual_size(file: &(impl ReadAt + ?Sized), length: u64) -> Result<u64, FormatError> {
    check_signature(&read(file, 0, Format::Vmdk)?)?;
    let mut header: [u8; 512] = read(file, 0, Format::Vmdk)?;
    check_version(&header)?;
    if header.le64(12) == 0 {
        return Err(FormatError::VmdkCapacityZero);
    }
    // QEMU reads the descriptor from sector 1 whatever the header says.
    let sectors = match (header.le64(28), header.le64(36)) {
        (0, _) | (_, 0) => return Err(FormatError::VmdkExtent),
        (1, sectors @ 1..=MAX_DESCRIPTOR_SECTORS) => sectors,
        _ => return Err(malformed("its descriptor is misplaced or too large")),
    };
    let mut descriptor = vec![0; sectors as usize * 512];
    read_into(file, &mut descriptor, 512, Format::Vmdk)?;
    check_descriptor(&descriptor)?;

    if header.le64(56) == AT_END {
        header = footer(file, length)?;
        check_version(&header)?;
    }
    check_grains(&header, length)?;
    (header.le64(12).checked_mul(512)).ok_or(FormatError::DiskTooLarge)
}

fn check_version(header: &[u8; 512]) -> Result<(), FormatError> {
    match header.le32(4) {
        1..=3 => Ok(()),
        version => Err(FormatError::Version {
            format: Format::Vmdk,
            version,
        }),
    }
}

/// The header that is in force in a stream: the last sector but one, between two markers.
fn footer(file: &(impl ReadAt + ?Sized), length: u64) -> Result<[u8; 512], FormatError> {
    let sector = length.div_ceil(512).checked_sub(3);
    let at = sector.ok_or(FormatError::CutOff(Format::Vmdk))? * 512;
    let [before, footer, after]: [[u8; 512]; 3] = [
        read(file, at, Format::Vmdk)?,
        read(file, at + 512, Format::Vmdk)?,
        read(file, at + 1024, Format::Vmdk)?,
    ];
    let is_end = before.le32(8) == 0
        && before.le32(12) == FOOTER
        && after.le64(0) == 0
        && after.le32(8) == 0
        && after.le32(12) == END_OF_STREAM;
    match is_end && footer.starts_with(b"KDMV") {
        true => Ok(footer),
        false => Err(FormatError::CutOff(Format::Vmdk)),
    }
}

/// Checks the sizes of grains and tables, and that the file has the directory of all grains and
/// their start.
fn check_grains(header: &[u8; 512], length: u64) -> Result<(), FormatError> {
    let (capacity, grain) = (header.le64(12), header.le64(20));
    let per_table = u64::from(header.le32(44));
    if !(1..=MAX_GRAIN).contains(&grain) {
        return Err(malformed(
            "its grains are of no sectors, or larger than 1 GiB",
        ));
    }
    if !(1..=512).contains(&per_table) {
        return Err(malformed("its tables are not of 1 to 512 grains"));
    }
    let entries = capacity.div_ceil(grain * per_table);
    if entries > MAX_DIRECTORY {
        return Err(malformed("its directory of grains is too large"));
    }
    let end = (header.le64(56).checked_mul(512)).and_then(|at| at.checked_add(entries * 4));
    let has_directory = end.is_some_and(|end| end <= length);
    if !has_directory || header.le64(64) > length.div_ceil(512) {
        return Err(FormatError::CutOff(Format::Vmdk));
    }
    // Flag 1: there is a second directory, which QEMU reads as well.
    let second = header.le64(48).checked_mul(512);
    if header.le32(8) & 2 != 0 && second.is_none_or(|at| at > super::MAX_OFFSET - entries * 4) {
        return Err(malformed("its second directory of grains is misplaced"));
    }
    Ok(())
}

fn malformed(what: &'static str) -> FormatError {
    let format = Format::Vmdk;
    FormatError::Malformed { format, what }
}

/// Accepts the header of a sparse extent with a descriptor inside.
fn check_signature(start: &[u8; 4]) -> Result<(), FormatError> {
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    match start {
        b"KDMV" => Ok(()),
        b"COWD" => Err(FormatError::VmdkType("vmfsSparse".to_owned())),
        // A descriptor is text, and may begin with blank lines or other comments.
        text if text.iter().all(is_text) => Err(FormatError::VmdkDescriptor),
        _ => Err(FormatError::NotThis(Format::Vmdk)),
    }
}

/// Refuses a descriptor of another type, or one that names another file.
fn check_descriptor(descriptor: &[u8]) -> Result<(), FormatError> {
    let text = descriptor
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let (mut extents, mut typed) = (0, false);
    for line in text.lines().map(str::trim) {
        if let Some((key, value)) = line.split_once('=') {
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "createtype" if matches!(value, "monolithicSparse" | "streamOptimized") => {
                    typed = true
                }
                "createtype" => return Err(FormatError::VmdkType(shortened(value))),
                "parentcid" if !value.eq_ignore_ascii_case("ffffffff") => {
                    return Err(FormatError::HasParent(Format::Vmdk));
                }
                "parentfilenamehint" => return Err(FormatError::VmdkNamesFile(shortened(value))),
                _ => {}
            }
        }
        let mut words = line.split_ascii_whitespace();
        let access = words.next().unwrap_or_default().to_ascii_uppercase();
        if ["RW", "RDONLY", "NOACCESS"].contains(&access.as_str()) {
            extents += 1;
            // Its own name is out of date once the file is renamed, and is never followed.
            // A directory or a protocol in it, or a second extent, is another file's name.
            let kind = words.nth(1).unwrap_or_default();
            let name = line.split('"').nth(1).unwrap_or_default();
            if extents > 1 || kind != "SPARSE" || name.contains(['/', ':']) {
                return Err(FormatError::VmdkNamesFile(shortened(line)));
            }
        }
    }
    match typed {
        true => Ok(()),
        false => Err(FormatError::VmdkExtent),
    }
}

/// A text of the image's, cut for a message.
fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}
