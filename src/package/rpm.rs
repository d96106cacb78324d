//! An `.rpm` (RPM Package File, version 4): a lead, two headers, and a compressed cpio archive.

use std::io::Read;

use super::decoder::decoder;
use super::{PackageError, Visit, cpio, fill, skip};

pub(super) const MAGIC: &[u8] = b"\xed\xab\xee\xdb";
const LEAD: u64 = 96;
/// A header: its magic and version, four bytes of nothing, and big-endian the number of its entries and
/// the bytes of their data.
const HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";
const HEADER: usize = 16;
const ENTRY: u64 = 16;

pub(super) fn read(mut from: impl Read, visit: Visit<'_>) -> Result<(), PackageError> {
    skip(&mut from, LEAD)?;
    let signatures = header(&mut from)?;
    // The next header begins at a multiple of eight bytes.
    skip(&mut from, signatures.wrapping_neg() % 8)?;
    header(&mut from)?;
    cpio::read(decoder(from)?, visit)
}

/// Skips a header and returns its length.
fn header(from: &mut impl Read) -> Result<u64, PackageError> {
    let mut head = [0; HEADER];
    fill(from, &mut head)?;
    let [.., a, b, c, d, e, f, g, h] = head;
    let entries = u64::from(u32::from_be_bytes([a, b, c, d]));
    let data = u64::from(u32::from_be_bytes([e, f, g, h]));
    if !head.starts_with(HEADER_MAGIC) {
        return Err(PackageError::Malformed("a header of rpm"));
    }
    let rest = entries * ENTRY + data;
    skip(from, rest)?;
    Ok(HEADER as u64 + rest)
}
