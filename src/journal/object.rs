//! Objects: everything behind the header of a journal file.

use super::JournalError;

/// The types of objects that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Data = 1,
    Entry = 3,
    EntryArray = 6,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Data => "a field",
            Self::Entry => "an entry",
            Self::EntryArray => "a list of entries",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// With its header of 16 bytes.
    pub bytes: &'a [u8],
    pub flags: u8,
    kind: Kind,
    offset: u64,
}

impl<'a> Object<'a> {
    /// The object at `offset`, which must be of `kind`.
    pub fn at(file: &'a [u8], offset: u64, kind: Kind) -> Result<Self, JournalError> {
        let damaged = || JournalError::Damaged {
            what: kind.name(),
            offset,
        };
        let start = usize::try_from(offset).map_err(|_| damaged())?;
        let rest = file.get(start..).ok_or_else(damaged)?;
        let size = u64_at(rest, 8).and_then(|size| usize::try_from(size).ok());
        let bytes = size.and_then(|size| rest.get(..size)).ok_or_else(damaged)?;
        match bytes {
            [first, flags, ..] if *first == kind as u8 && bytes.len() >= 16 && start > 0 => {
                Ok(Self {
                    bytes,
                    flags: *flags,
                    kind,
                    offset,
                })
            }
            _ => Err(damaged()),
        }
    }

    pub fn damaged(&self) -> JournalError {
        JournalError::Damaged {
            what: self.kind.name(),
            offset: self.offset,
        }
    }
}

/// A little-endian number.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// A little-endian number.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
