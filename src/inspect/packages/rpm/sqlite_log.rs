//! The write-ahead log of an SQLite database (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>):
//! pages that were written and have not been put into the file yet. A transaction counts if its last frame is
//! there; the rest is what a crash left, or of a time before.

use std::collections::HashMap;

use super::source::{DatabaseError, Source};
use crate::linux::bytes::Fields;

/// Without its last bit, which says in which byte order checksums are computed.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
const HEADER: usize = 32;
const FRAME: usize = 24;

pub(super) struct Log<'a, S> {
    file: &'a mut S,
    page_size: usize,
    /// Where the newest version of a page lies.
    pages: HashMap<u32, u64>,
    /// The pages of the database after the last transaction.
    pub count: u32,
}

impl<'a, S: Source> Log<'a, S> {
    /// `None` if there is no transaction in it.
    pub async fn open(file: &'a mut S, page_size: usize) -> Result<Option<Self>, DatabaseError> {
        if file.size() == 0 {
            return Ok(None);
        }
        let header = file.bytes(0, HEADER).await.map_err(|error| match error {
            DatabaseError::Damaged { .. } => DatabaseError::Log,
            error => error,
        })?;
        let magic = header.be32(0);
        let mut sum = Checksum {
            is_big_endian: magic & 1 != 0,
            sums: (0, 0),
        };
        sum.add(&header[..24]);
        let stated_size = usize::try_from(header.be32(8)).ok();
        if magic & !1 != MAGIC
            || header.be32(4) != VERSION
            || stated_size != Some(page_size)
            || !sum.is(&header[24..])
        {
            return Err(DatabaseError::Log);
        }
        let frame_size = (FRAME + page_size) as u64;
        let (mut pages, mut open) = (HashMap::new(), HashMap::new());
        let mut count = 0;
        let mut at = HEADER as u64;
        while at.saturating_add(frame_size) <= file.size() {
            let frame = file.bytes(at, FRAME + page_size).await?;
            sum.add(&frame[..8]);
            sum.add(&frame[FRAME..]);
            let (page, after) = (frame.be32(0), frame.be32(4));
            if page == 0 || frame[8..16] != header[16..24] || !sum.is(&frame[16..]) {
                break;
            }
            open.insert(page, at + FRAME as u64);
            if after != 0 {
                pages.extend(open.drain());
                count = after;
            }
            at += frame_size;
        }
        Ok((count != 0).then_some(Self {
            file,
            page_size,
            pages,
            count,
        }))
    }

    pub fn pages(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(u32::MAX)
    }

    /// A page, if it is in the log.
    pub async fn page(&mut self, number: u32) -> Result<Option<Vec<u8>>, DatabaseError> {
        match self.pages.get(&number) {
            Some(offset) => Ok(Some(self.file.bytes(*offset, self.page_size).await?)),
            None => Ok(None),
        }
    }
}

/// Goes on from frame to frame.
struct Checksum {
    is_big_endian: bool,
    sums: (u32, u32),
}

impl Checksum {
    /// Adds bytes, eight at a time.
    fn add(&mut self, bytes: &[u8]) {
        let number = |words: &[u8], at| match self.is_big_endian {
            true => words.be32(at),
            false => words.le32(at),
        };
        let (mut one, mut other) = self.sums;
        for words in bytes.chunks_exact(8) {
            one = one.wrapping_add(number(words, 0)).wrapping_add(other);
            other = other.wrapping_add(number(words, 4)).wrapping_add(one);
        }
        self.sums = (one, other);
    }

    fn is(&self, stated: &[u8]) -> bool {
        (stated.be32(0), stated.be32(4)) == self.sums
    }
}
