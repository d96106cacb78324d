//! The header of a vhdx image that is in force, of two, and whether its log has to be replayed.
//!
//! A program that was ended while it wrote leaves metadata in the log. QEMU replays it into the
//! image, and refuses an image that it may not write to.

use super::crc32c::{self, Crc32c};
use super::{FormatError, ReadAt, read, read_into};
use crate::image::format::Format;
use crate::linux::bytes::Fields;

/// The two copies of the header.
const COPIES: [u64; 2] = [64 << 10, 128 << 10];
/// Offset and length of the log are multiples of this (VHDX_LOG_MIN_SIZE).
const LOG_UNIT: u64 = 1 << 20;
/// Entries of the log start at sectors of its own.
const LOG_SECTOR: u64 = 4096;
/// As much of entries is checked, a hundred times the log of most images. It takes a second.
const MAX_CHECKED: u64 = 128 << 20;

pub(super) struct Header {
    sequence: u64,
    log_id: [u8; 16],
    log_version: u16,
    /// In bytes, as `log_offset`.
    pub log_length: u32,
    pub log_offset: u64,
}

impl Header {
    /// Of the two copies, the valid one with the higher sequence number.
    pub fn read(file: &(impl ReadAt + ?Sized)) -> Result<Self, FormatError> {
        let mut valid = Vec::new();
        for offset in COPIES {
            let bytes: [u8; 4096] = read(file, offset, Format::Vhdx)?;
            if bytes.starts_with(b"head") && bytes.le16(66) == 1 && crc32c::is_right(&bytes) {
                valid.push(bytes);
            }
        }
        // Some programs write two that are the same.
        let is_same_number = |a: &[u8; 4096], b: &[u8; 4096]| a.le64(8) == b.le64(8);
        if matches!(&valid[..], [a, b] if is_same_number(a, b) && a != b) {
            return Err(malformed("its two headers contradict each other"));
        }
        let headers = valid.iter().map(|bytes| Self {
            sequence: bytes.le64(8),
            log_id: bytes.get_array(48).unwrap_or_default(),
            log_version: bytes.le16(64),
            log_length: bytes.le32(68),
            log_offset: bytes.le64(72),
        });
        let newest = headers.max_by_key(|header| header.sequence);
        newest.ok_or(malformed("neither of its two headers is valid"))
    }

    /// Refuses an image whose log QEMU would replay, or cannot read.
    pub fn check_log(&self, file: &(impl ReadAt + ?Sized)) -> Result<(), FormatError> {
        let length = u64::from(self.log_length);
        let is_misplaced = self.log_offset < LOG_UNIT || !self.log_offset.is_multiple_of(LOG_UNIT);
        if is_misplaced || self.log_version != 0 {
            return Err(malformed("its log is misplaced, or of an unknown version"));
        }
        // "If this field is zero, then the log is empty or has no valid entries."
        if self.log_id == [0; 16] {
            return Ok(());
        }
        if length % LOG_UNIT != 0 {
            return Err(malformed("its log is not of whole mebibytes"));
        }
        let mut left = MAX_CHECKED;
        for at in (0..length).step_by(LOG_SECTOR as usize) {
            if self.is_entry(file, at, &mut left)? {
                return Err(FormatError::VhdxLog);
            }
        }
        Ok(())
    }

    /// Whether an entry that QEMU takes for valid, or for one that is broken, starts at `at` in the
    /// log. `left` is how many bytes may still be read for that.
    fn is_entry(
        &self,
        file: &(impl ReadAt + ?Sized),
        at: u64,
        left: &mut u64,
    ) -> Result<bool, FormatError> {
        let length = u64::from(self.log_length);
        let mut sector = [0; LOG_SECTOR as usize];
        let mut sector_at = |at: u64| {
            let at = self.log_offset.saturating_add(at % length);
            read_into(file, &mut sector, at, Format::Vhdx).map(|()| sector)
        };
        // [MS-VHDX] 2.3.1.1: signature, checksum, length, tail, sequence number, number of
        // descriptors, reserved, and the log's GUID.
        let mut first = sector_at(at)?;
        let (entry, count) = (u64::from(first.le32(8)), u64::from(first.le32(24)));
        let is_header = first.starts_with(b"loge")
            && (1..=length).contains(&entry)
            && entry % LOG_SECTOR == 0
            && first.le64(16) != 0
            && first.part(32, 16) == self.log_id
            && count * 32 <= entry;
        if !is_header {
            return Ok(false);
        }
        // So much that no program has written it: not for us to replay either.
        *left = left.saturating_sub(entry);
        if *left == 0 {
            return Ok(true);
        }
        let (stated, sequence) = (first.le32(4), first.le64(16));
        first[4..8].fill(0);
        let mut sum = Crc32c::new();
        sum.add(&first);
        let mut descriptors = descriptors_are_valid(&first[64..], count, sequence);
        for next in (LOG_SECTOR..entry).step_by(LOG_SECTOR as usize) {
            let sector = sector_at(at + next)?;
            sum.add(&sector);
            // 126 are in the first sector, 128 in each further one.
            let count = count.saturating_sub(next / 32 - 2);
            descriptors &= descriptors_are_valid(&sector, count, sequence);
        }
        Ok(sum.sum() == stated || !descriptors)
    }
}

/// [MS-VHDX] 2.3.1.2 and 2.3.1.3: each of the first `count` descriptors has the signature of one, an
/// offset in whole sectors, and the sequence number of its entry.
fn descriptors_are_valid(sector: &[u8], count: u64, sequence: u64) -> bool {
    let mut descriptors = sector.chunks_exact(32).take(count as usize);
    descriptors.all(|descriptor| {
        let is_known = descriptor.starts_with(b"desc")
            || descriptor.starts_with(b"zero") && descriptor.le64(8) % LOG_SECTOR == 0;
        is_known && descriptor.le64(16) % LOG_SECTOR == 0 && descriptor.le64(24) == sequence
    })
}

fn malformed(what: &'static str) -> FormatError {
    let format = Format::Vhdx;
    FormatError::Malformed { format, what }
}
