//! VMware's vmdk, as one sparse file with its descriptor inside.
//!
//! Everything that names another file is refused: a descriptor as a file of its own, an
//! extent of a split disk, a parent, and the header with capacity 0, which makes QEMU follow
//! the embedded descriptor (CVE-2022-47951: such names were used to read the host's files).
//! Offsets as in QEMU's block/vmdk.c, VMDK4Header.

use super::{FormatError, ReadAt, read, read_into};
use crate::image::format::Format;
use crate::linux::bytes::Fields;

/// The largest embedded descriptor that is read: QEMU's and VMware's have 20 sectors.
const MAX_DESCRIPTOR_SECTORS: u64 = 128;
/// gd_offset of a file whose valid header is the footer (VMDK4_GD_AT_END).
const AT_END: u64 = u64::MAX;

pub(super) fn virtual_size(file: &(impl ReadAt + ?Sized), length: u64) -> Result<u64, FormatError> {
    check_signature(&read(file, 0, Format::Vmdk)?)?;
    let header: [u8; 512] = read(file, 0, Format::Vmdk)?;
    let version = header.le32(4);
    if !(1..=3).contains(&version) {
        let format = Format::Vmdk;
        return Err(FormatError::Version { format, version });
    }
    let mut capacity = header.le64(12);
    if capacity == 0 {
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
        // Footer marker, footer, end-of-stream marker: the last three sectors.
        let sector = (length / 512).checked_sub(2);
        let at = sector.ok_or(FormatError::Truncated(Format::Vmdk))? * 512;
        let footer: [u8; 512] = read(file, at, Format::Vmdk)?;
        if !footer.starts_with(b"KDMV") {
            return Err(malformed("its footer is missing"));
        }
        capacity = footer.le64(12);
    }
    capacity.checked_mul(512).ok_or(FormatError::DiskTooLarge)
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
