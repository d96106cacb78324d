//! VMware's vmdk, as one sparse file with its descriptor inside.
//!
//! Everything that names another file is refused: a descriptor as a file of its own, an
//! extent of a split disk, a parent, and the header with capacity 0, which makes QEMU obey
//! the embedded descriptor (CVE-2022-47951 used such ways to read the host's files).
//! Offsets as in QEMU's block/vmdk.c, VMDK4Header.

use super::{ForeignError, ReadAt, read, read_into};
use crate::image::Format;
use crate::linux::bytes::Fields;

/// The largest embedded descriptor that is read: QEMU's and VMware's have 20 sectors.
const MAX_DESCRIPTOR_SECTORS: u64 = 128;
/// gd_offset of a file whose valid header is the footer (VMDK4_GD_AT_END).
const AT_END: u64 = u64::MAX;

pub(super) fn virtual_size(
    file: &(impl ReadAt + ?Sized),
    length: u64,
) -> Result<u64, ForeignError> {
    let malformed = |what| ForeignError::Malformed {
        format: Format::Vmdk,
        what,
    };
    let start: [u8; 4] = read(file, 0, Format::Vmdk)?;
    match &start {
        b"KDMV" => {}
        b"COWD" => return Err(ForeignError::VmdkType("vmfsSparse".to_owned())),
        // A descriptor is text, and may begin with blank lines or other comments.
        text if text
            .iter()
            .all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) =>
        {
            return Err(ForeignError::VmdkDescriptor);
        }
        _ => return Err(ForeignError::NotThis(Format::Vmdk)),
    }
    let header: [u8; 512] = read(file, 0, Format::Vmdk)?;
    match header.le32(4) {
        1..=3 => {}
        version => {
            return Err(ForeignError::Version {
                format: Format::Vmdk,
                version,
            });
        }
    }
    if header.le64(12) == 0 {
        return Err(ForeignError::VmdkObeysDescriptor);
    }
    // QEMU looks for a parent at sector 1 whatever the header says; so does everyone write it.
    let sectors = header.le64(36);
    match (header.le64(28), sectors) {
        (0, _) | (_, 0) => {
            return Err(ForeignError::VmdkExtent);
        }
        (1, 1..=MAX_DESCRIPTOR_SECTORS) => {}
        _ => {
            return Err(malformed(
                "its descriptor is not where it belongs, or too large",
            ));
        }
    }
    let mut descriptor = vec![0; sectors as usize * 512];
    read_into(file, &mut descriptor, 512, Format::Vmdk)?;
    check_descriptor(&descriptor)?;

    let mut capacity = header.le64(12);
    if header.le64(56) == AT_END {
        // Footer marker, footer, end-of-stream marker: the last three sectors.
        let at = (length / 512)
            .checked_sub(2)
            .ok_or(ForeignError::Truncated(Format::Vmdk))?
            * 512;
        let footer: [u8; 512] = read(file, at, Format::Vmdk)?;
        if !footer.starts_with(b"KDMV") {
            return Err(malformed("its footer is missing"));
        }
        capacity = footer.le64(12);
    }
    capacity.checked_mul(512).ok_or(ForeignError::DiskTooLarge)
}

/// Refuses a descriptor that is of another type or names another file than its own.
fn check_descriptor(descriptor: &[u8]) -> Result<(), ForeignError> {
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
                "createtype" => return Err(ForeignError::VmdkType(shortened(value))),
                "parentcid" if !value.eq_ignore_ascii_case("ffffffff") => {
                    return Err(ForeignError::HasParent(Format::Vmdk));
                }
                "parentfilenamehint" => return Err(ForeignError::VmdkNamesFile(shortened(value))),
                _ => {}
            }
        }
        let access = line.split_ascii_whitespace().next().unwrap_or_default();
        if ["RW", "RDONLY", "NOACCESS"]
            .iter()
            .any(|word| access.eq_ignore_ascii_case(word))
        {
            extents += 1;
            // Its own name is stale as soon as the file is renamed, and nobody follows it.
            // A directory or a protocol in it, or a second extent, is another file's name.
            let kind = line.split_ascii_whitespace().nth(2).unwrap_or_default();
            let name = line.split('"').nth(1).unwrap_or_default();
            if extents > 1 || kind != "SPARSE" || name.contains(['/', ':']) {
                return Err(ForeignError::VmdkNamesFile(shortened(line)));
            }
        }
    }
    if typed {
        Ok(())
    } else {
        Err(ForeignError::VmdkExtent)
    }
}

/// What an image says, short enough for a message.
fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}
