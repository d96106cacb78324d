//! `Packages`, a hash of Berkeley DB, as rpm had it before 4.16 (CentOS 7, RHEL 8): buckets of pages with
//! keys and values, of which the long ones lie in chains of pages of their own. Facts are those of Berkeley
//! DB's dbinc/db_page.h and rpm's lib/backend/bdb_ro.c. Numbers have the byte order of the machine that
//! wrote them, which the magic tells.

use std::collections::HashSet;

use super::super::package::Package;
use super::source::{Contents, DatabaseError, MAX_PACKAGES, MAX_RECORD, Source};
use crate::linux::bytes::Fields;
use crate::session::SessionError;

const META: usize = 512;
const MAGIC: u32 = 0x0006_1561;
const VERSIONS: std::ops::RangeInclusive<u32> = 8..=10;
/// The header of a page: its number at 8, the next page at 16, the number of entries at 20, at 22 where
/// the last of them starts or (in a chain) the number of bytes, and the type at 25.
const HEADER: usize = 26;

mod page_kind {
    pub const HASH_UNSORTED: u8 = 2;
    pub const CHAIN: u8 = 7;
    pub const HASH: u8 = 13;
}

mod item_kind {
    pub const INLINE: u8 = 1;
    pub const CHAIN: u8 = 3;
}

/// What `read` makes of each record, in the order in which they lie in the file.
pub async fn records(
    file: &mut impl Source,
    read: fn(&[u8]) -> Result<Option<Package>, DatabaseError>,
) -> Result<Contents, SessionError> {
    let mut contents = Contents::new();
    let mut pages = match Pages::open(file).await {
        Ok(pages) => pages,
        Err(error) => {
            contents.add(Err(error))?;
            return Ok(contents);
        }
    };
    if pages.is_cut_off {
        contents.add(Err(DatabaseError::damaged("the file", pages.file.size())))?;
    }
    let mut chains = Vec::new();
    for bucket in 0..=pages.last_bucket {
        let first = pages.first_page(bucket);
        let mut next = first;
        while next != 0 {
            let page = match pages.hash_page(next, next == first).await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) => {
                    contents.add(Err(error))?;
                    break;
                }
            };
            for item in pages.items(&page) {
                match item {
                    Ok(Item::Inline(record)) => contents.add(read(&record))?,
                    Ok(Item::Chain { first, length }) => chains.push((first, length)),
                    Err(error) => contents.add(Err(error))?,
                }
            }
            next = pages.u32(&page, 16);
        }
        if chains.len() > MAX_PACKAGES {
            break;
        }
    }
    if chains.len() > MAX_PACKAGES {
        contents.add(Err(DatabaseError::TOO_MANY))?;
        chains.truncate(MAX_PACKAGES);
    }
    // The order of buckets is that of hashes.
    chains.sort_unstable();
    for (first, length) in chains {
        let record = pages.chain(first, length).await;
        contents.add(record.and_then(|record| read(&record)))?;
    }
    Ok(contents)
}

/// Where a record is.
enum Item {
    Inline(Vec<u8>),
    Chain { first: u32, length: u32 },
}

/// The pages of a file, none of which is used twice.
struct Pages<'a, S> {
    file: &'a mut S,
    is_big_endian: bool,
    size: usize,
    /// The last one that is there, and of buckets.
    last: u32,
    last_bucket: u32,
    is_cut_off: bool,
    /// For each power of two of buckets what has to be added to a bucket's number to get its page.
    spares: Vec<u32>,
    /// Those that were read.
    seen: HashSet<u32>,
}

impl<'a, S: Source> Pages<'a, S> {
    async fn open(file: &'a mut S) -> Result<Self, DatabaseError> {
        let meta = file.bytes(0, META).await?;
        let mut pages = Self {
            file,
            is_big_endian: false,
            size: 0,
            last: 0,
            last_bucket: 0,
            is_cut_off: false,
            spares: Vec::new(),
            seen: HashSet::new(),
        };
        if pages.u32(&meta, 12) == MAGIC.swap_bytes() {
            pages.is_big_endian = true;
        }
        if pages.u32(&meta, 12) != MAGIC {
            return Err(DatabaseError::damaged("the header", 0));
        }
        // The second is for encryption, the third for checksums in pages, which rpm never had.
        if !VERSIONS.contains(&pages.u32(&meta, 16)) || meta[24] != 0 || meta[26] & 1 != 0 {
            return Err(DatabaseError::Unsupported("this version of the format"));
        }
        let size = pages.u32(&meta, 20);
        pages.last = pages.u32(&meta, 32);
        pages.last_bucket = pages.u32(&meta, 72);
        let is_size = size.is_power_of_two() && (META as u32..=1 << 16).contains(&size);
        // Each bucket has a page.
        if !is_size || pages.last_bucket >= pages.last {
            return Err(DatabaseError::damaged("the header", 0));
        }
        pages.size = size as usize;
        let places = (96..224).step_by(4);
        pages.spares = places.map(|at| pages.u32(&meta, at)).collect();
        let there = (pages.file.size() / u64::from(size)).saturating_sub(1);
        let there = u32::try_from(there).unwrap_or(u32::MAX);
        pages.is_cut_off = pages.last > there;
        pages.last = pages.last.min(there);
        pages.last_bucket = pages.last_bucket.min(there);
        Ok(pages)
    }

    fn offset(&self, page: u32) -> u64 {
        u64::from(page).saturating_mul(self.size as u64)
    }

    /// The first page of a bucket. One that is none is refused when it is read.
    fn first_page(&self, bucket: u32) -> u32 {
        let power = (u32::BITS - bucket.leading_zeros()) as usize;
        let spare = self.spares.get(power);
        let page = spare.and_then(|spare| bucket.checked_add(*spare));
        page.filter(|page| *page != 0).unwrap_or(u32::MAX)
    }

    async fn page(&mut self, number: u32, what: &'static str) -> Result<Vec<u8>, DatabaseError> {
        if number == 0 || number > self.last {
            return Err(DatabaseError::damaged(what, self.offset(number)));
        }
        if !self.seen.insert(number) {
            return Err(DatabaseError::USED_TWICE);
        }
        self.file.bytes(self.offset(number), self.size).await
    }

    /// A page of a bucket. The first one is `None` if it was never written: Berkeley DB reads zeros as an
    /// empty page.
    async fn hash_page(
        &mut self,
        number: u32,
        is_first: bool,
    ) -> Result<Option<Vec<u8>>, DatabaseError> {
        const WHAT: &str = "a list of packages";
        let page = self.page(number, WHAT).await?;
        if is_first && page.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let is_hash = matches!(page[25], page_kind::HASH | page_kind::HASH_UNSORTED);
        match is_hash && self.u32(&page, 8) == number {
            true => Ok(Some(page)),
            false => Err(DatabaseError::damaged(WHAT, self.offset(number))),
        }
    }

    /// The records of a page. Its entries are keys and values in turn, each of which ends where the one
    /// before it starts. The key 0 stands for the number of the last package, not for a record.
    fn items(&self, page: &[u8]) -> Vec<Result<Item, DatabaseError>> {
        let count = usize::from(self.u16(page, 20));
        let mut end = page.len();
        let mut entry = |index: usize| {
            let at = HEADER + 2 * index;
            let start = page.get(at..at + 2).map(|_| self.u16(page, at));
            let found = start.and_then(|start| page.get(usize::from(start)..end));
            end = start.map_or(0, usize::from);
            found.filter(|found| !found.is_empty())
        };
        let fault = || DatabaseError::damaged("a list of packages", self.offset(self.u32(page, 8)));
        let mut items = Vec::new();
        for index in (0..count).step_by(2) {
            let (key, value) = (entry(index), entry(index + 1));
            let item = match key.zip(value) {
                Some(([item_kind::INLINE, key @ ..], _)) if key.iter().all(|byte| *byte == 0) => {
                    continue;
                }
                Some((_, [item_kind::INLINE, record @ ..])) => Some(Item::Inline(record.to_vec())),
                Some((_, value @ [item_kind::CHAIN, ..])) if value.len() == 12 => {
                    let (first, length) = (self.u32(value, 4), self.u32(value, 8));
                    Some(Item::Chain { first, length })
                }
                _ => None,
            };
            items.push(item.ok_or_else(fault));
            // What follows cannot be told from other bytes.
            if key.is_none() || value.is_none() {
                return items;
            }
        }
        // Of an empty page of 64 KiB it is 0.
        if end % (1 << 16) != usize::from(self.u16(page, 22)) {
            items.push(Err(fault()));
        }
        items
    }

    async fn chain(&mut self, first: u32, length: u32) -> Result<Vec<u8>, DatabaseError> {
        const WHAT: &str = "the record of a package";
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_RECORD {
            return Err(DatabaseError::TooLarge {
                what: WHAT,
                mib: (MAX_RECORD >> 20) as u64,
            });
        }
        let (mut record, mut next) = (Vec::new(), first);
        while record.len() < length {
            let page = self.page(next, WHAT).await?;
            let used = usize::from(self.u16(&page, 22));
            let part = page.get(HEADER..).and_then(|data| data.get(..used));
            let part = part.filter(|part| {
                page[25] == page_kind::CHAIN
                    && self.u32(&page, 8) == next
                    && !part.is_empty()
                    && part.len() <= length - record.len()
            });
            record.extend_from_slice(part.ok_or(DatabaseError::damaged(WHAT, self.offset(next)))?);
            next = self.u32(&page, 16);
        }
        Ok(record)
    }

    /// A number of a page or the header; 0 beyond the end.
    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        match self.is_big_endian {
            true => bytes.be32(at),
            false => bytes.le32(at),
        }
    }

    fn u16(&self, bytes: &[u8], at: usize) -> u16 {
        match self.is_big_endian {
            true => bytes.be16(at),
            false => bytes.le16(at),
        }
    }
}
