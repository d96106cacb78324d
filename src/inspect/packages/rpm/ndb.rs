//! `Packages.db`, of rpm's NDB (rpm's lib/backend/ndb/rpmpkg.c), as SUSE has it: pages of slots, each of
//! which names a run of blocks, which hold the record of a package. Numbers are little-endian.

use super::super::package::Package;
use super::source::{Contents, DatabaseError, MAX_RECORD, Source};
use crate::linux::bytes::Fields;
use crate::session::SessionError;

const MAGIC: &[u8] = b"RpmP";
const SLOT: &[u8] = b"Slot";
const BLOB_START: &[u8] = b"BlbS";
const BLOB_END: &[u8] = b"BlbE";

/// Bytes of a slot, and of a block. The header takes the place of the first two slots.
const UNIT: usize = 16;
const HEADER: usize = 2 * UNIT;
const PAGE: usize = 4096;
/// Before a record are its magic, number, time and length; behind it, at the end of the last block, are
/// its checksum, length and magic.
const HEAD: usize = 16;
const TAIL: usize = 12;
/// Most pages of slots: half a million packages.
const MAX_SLOT_PAGES: u32 = 2048;

/// Where the record of a package lies, in blocks.
#[derive(Clone, Copy, Debug)]
struct Slot {
    package: u32,
    start: u32,
    count: u32,
}

impl Slot {
    fn offset(&self) -> u64 {
        u64::from(self.start) * UNIT as u64
    }

    fn end(&self) -> u64 {
        u64::from(self.start) + u64::from(self.count)
    }

    fn damaged(&self) -> DatabaseError {
        DatabaseError::damaged("the record of a package", self.offset())
    }
}

/// What `read` makes of each record, in the order in which they lie in the file.
pub async fn records(
    file: &mut impl Source,
    read: fn(&[u8]) -> Result<Option<Package>, DatabaseError>,
) -> Result<Contents, SessionError> {
    let mut contents = Contents::new();
    let slots = match slots(file).await {
        Ok(slots) => slots,
        Err(error) => {
            contents.add(Err(error))?;
            return Ok(contents);
        }
    };
    let mut end = 0;
    for slot in slots {
        // No two overlap: so no more is read than the file has.
        let found = match u64::from(slot.start) < end {
            true => Err(slot.damaged()),
            false => record(file, &slot).await.and_then(|record| read(&record)),
        };
        contents.add(found)?;
        end = end.max(slot.end());
    }
    Ok(contents)
}

/// The slots that are in use, sorted by where they lead.
async fn slots(file: &mut impl Source) -> Result<Vec<Slot>, DatabaseError> {
    let cut = || DatabaseError::damaged("the header", 0);
    let header = file.bytes(0, HEADER).await.map_err(|error| match error {
        DatabaseError::Damaged { .. } => cut(),
        error => error,
    })?;
    if !header.starts_with(MAGIC) {
        return Err(cut());
    }
    if header.le32(4) != 0 {
        return Err(DatabaseError::Unsupported("this version of the format"));
    }
    let pages = header.le32(12);
    if !(1..=MAX_SLOT_PAGES).contains(&pages) {
        return Err(cut());
    }
    let mut slots = Vec::new();
    for page in 0..pages {
        let offset = u64::from(page) * PAGE as u64;
        let damaged = DatabaseError::damaged("a list of packages", offset);
        let bytes = file.bytes(offset, PAGE).await?;
        let skipped = if page == 0 { HEADER } else { 0 };
        for slot in bytes[skipped..].chunks_exact(UNIT) {
            if !slot.starts_with(SLOT) {
                return Err(damaged);
            }
            match (slot.le32(4), slot.le32(8), slot.le32(12)) {
                (_, 0, _) => {}
                (0, _, _) | (_, _, 0) => return Err(damaged),
                (package, start, count) => slots.push(Slot {
                    package,
                    start,
                    count,
                }),
            }
        }
    }
    slots.sort_by_key(|slot| slot.start);
    Ok(slots)
}

async fn record(file: &mut impl Source, slot: &Slot) -> Result<Vec<u8>, DatabaseError> {
    let length = usize::try_from(slot.count).unwrap_or(usize::MAX);
    let length = length.saturating_mul(UNIT);
    if slot.end().saturating_mul(UNIT as u64) > file.size() || length < HEAD + TAIL {
        return Err(slot.damaged());
    }
    if length > MAX_RECORD {
        return Err(DatabaseError::TooLarge {
            what: "the record of a package",
            mib: (MAX_RECORD >> 20) as u64,
        });
    }
    let blob = file.bytes(slot.offset(), length).await?;
    let record = checked(&blob, slot.package).ok_or_else(|| slot.damaged())?;
    Ok(record.to_vec())
}

/// The record in its blocks, if all that they say of themselves is so.
fn checked(blob: &[u8], package: u32) -> Option<&[u8]> {
    let (rest, tail) = blob.split_at_checked(blob.len().checked_sub(TAIL)?)?;
    let length = usize::try_from(blob.get_le32(12)?).ok()?;
    let record = rest.get(HEAD..)?.get(..length)?;
    let blocks = length.checked_add(HEAD + TAIL)?.div_ceil(UNIT);
    let is_whole = blob.starts_with(BLOB_START)
        && blob.le32(4) == package
        && blocks.checked_mul(UNIT)? == blob.len()
        && tail.le32(0) == adler32(rest)
        && tail.le32(4) == blob.le32(12)
        && tail.ends_with(BLOB_END);
    is_whole.then_some(record)
}

/// Adler-32 (RFC 1950).
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    let (mut one, mut other) = (1_u32, 0_u32);
    // The most bytes that fit before the sums have to be reduced.
    for part in bytes.chunks(5552) {
        for byte in part {
            one += u32::from(*byte);
            other += one;
        }
        one %= MODULUS;
        other %= MODULUS;
    }
    other << 16 | one
}
