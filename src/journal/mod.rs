//! The files of systemd's journal, by <https://systemd.io/JOURNAL_FILE_FORMAT>: entries in the order in which
//! they were written, with their fields.
//!
//! Pure: a file is a slice of bytes. Every number in it is untrusted: offsets must lie in the file, lists
//! only lead forward, and decompression has a limit. A file that was cut off, or is damaged further on,
//! gives the entries before the fault.

mod data;
mod object;

use thiserror::Error;

pub use data::{DataReader, Field, MAX_DATA};
use object::{Kind, Object, u32_at, u64_at};

/// The length of the header that every version has. The fields that are used lie in it.
pub const HEADER: usize = 208;

const SIGNATURE: &[u8; 8] = b"LPKSHHRH";

/// Flags of features without whose support a file must not be read.
mod incompatible {
    pub const KEYED_HASH: u32 = 1 << 2;
    pub const COMPRESSED: u32 = 1 << 0 | 1 << 1 | 1 << 3;
    pub const COMPACT: u32 = 1 << 4;
}

/// Why a file, or the rest of one, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JournalError {
    #[error("not a journal file")]
    Signature,
    #[error("it uses features that bivouac does not know (flags {0:#x})")]
    Unsupported(u32),
    #[error("{what} at byte {offset} is damaged or cut off")]
    Damaged { what: &'static str, offset: u64 },
    #[error("a field at byte {offset} cannot be decompressed: {reason}")]
    Compression { offset: u64, reason: String },
}

/// The number of one boot of a machine: 128 random bits.
pub type BootId = [u8; 16];

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    is_compact: bool,
    /// The first array of entries; 0 if there is none.
    entries: u64,
    /// The number of entries.
    pub count: u64,
    /// The times of the first and the last entry, in microseconds since 1970. Only to choose files by:
    /// after a crash the last one is not up to date.
    pub first: u64,
    pub last: u64,
}

impl Header {
    /// Reads the first [`HEADER`] bytes of a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, JournalError> {
        if bytes.get(..8) != Some(SIGNATURE) {
            return Err(JournalError::Signature);
        }
        let cut = || JournalError::Damaged {
            what: "the header",
            offset: 0,
        };
        let flags = u32_at(bytes, 12).ok_or_else(cut)?;
        let known = incompatible::KEYED_HASH | incompatible::COMPRESSED | incompatible::COMPACT;
        if flags & !known != 0 {
            return Err(JournalError::Unsupported(flags & !known));
        }
        let field = |at| u64_at(bytes, at).ok_or_else(cut);
        Ok(Self {
            is_compact: flags & incompatible::COMPACT != 0,
            count: field(152)?,
            entries: field(176)?,
            first: field(184)?,
            last: field(192)?,
        })
    }
}

/// An entry, without its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its object begins.
    offset: u64,
    /// Counts the entries of all files that one journald writes.
    pub seqnum: u64,
    /// Microseconds since 1970.
    pub realtime: u64,
    /// Microseconds since the boot.
    pub monotonic: u64,
    pub boot: BootId,
}

/// A journal file.
#[derive(Clone, Copy, Debug)]
pub struct JournalFile<'a> {
    bytes: &'a [u8],
    header: Header,
}

impl<'a> JournalFile<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self, JournalError> {
        let header = Header::parse(bytes)?;
        Ok(Self { bytes, header })
    }

    /// The entries, in the order of the file. The first error is the last item.
    pub fn entries(&self) -> Entries<'a> {
        Entries {
            file: *self,
            next_array: self.header.entries,
            array: None,
            at: 0,
            left: self.header.count,
        }
    }

    /// The offsets of the data objects of an entry.
    pub fn fields(
        &self,
        entry: &Entry,
    ) -> Result<impl Iterator<Item = u64> + use<'a>, JournalError> {
        let object = Object::at(self.bytes, entry.offset, Kind::Entry)?;
        let (size, is_compact) = if self.header.is_compact {
            (4, true)
        } else {
            (16, false)
        };
        let items = object
            .bytes
            .get(64..)
            .unwrap_or_default()
            .chunks_exact(size);
        Ok(items.filter_map(move |item| match is_compact {
            true => u32_at(item, 0).map(u64::from),
            false => u64_at(item, 0),
        }))
    }

    /// A reader of the fields.
    pub fn data(&self) -> DataReader<'a> {
        DataReader::new(self.bytes, self.header.is_compact)
    }

    fn entry(&self, offset: u64) -> Result<Entry, JournalError> {
        let object = Object::at(self.bytes, offset, Kind::Entry)?;
        let damaged = || object.damaged();
        let field = |at| u64_at(object.bytes, at).ok_or_else(damaged);
        let boot = object.bytes.get(40..56).ok_or_else(damaged)?;
        Ok(Entry {
            offset,
            seqnum: field(16)?,
            realtime: field(24)?,
            monotonic: field(32)?,
            boot: boot.try_into().map_err(|_| damaged())?,
        })
    }
}

/// Goes through the arrays of entries.
#[derive(Debug)]
pub struct Entries<'a> {
    file: JournalFile<'a>,
    next_array: u64,
    array: Option<Object<'a>>,
    /// The next item of the array.
    at: usize,
    left: u64,
}

impl Entries<'_> {
    fn step(&mut self) -> Result<Option<Entry>, JournalError> {
        while self.left > 0 {
            let Some(array) = self.array else {
                if self.next_array == 0 {
                    return Ok(None);
                }
                let array = Object::at(self.file.bytes, self.next_array, Kind::EntryArray)?;
                let next = u64_at(array.bytes, 16).ok_or_else(|| array.damaged())?;
                // Arrays are appended: a list that leads back would never end.
                if next != 0 && next <= self.next_array {
                    return Err(array.damaged());
                }
                (self.array, self.next_array, self.at) = (Some(array), next, 0);
                continue;
            };
            let offset = match self.file.header.is_compact {
                true => u32_at(array.bytes, 24 + 4 * self.at).map(u64::from),
                false => u64_at(array.bytes, 24 + 8 * self.at),
            };
            self.at += 1;
            match offset {
                // An array is made longer than what it holds.
                Some(0) => return Ok(None),
                Some(offset) => {
                    self.left -= 1;
                    return self.file.entry(offset).map(Some);
                }
                None => self.array = None,
            }
        }
        Ok(None)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.left = 0;
        }
        step
    }
}

#[cfg(test)]
mod tests;
