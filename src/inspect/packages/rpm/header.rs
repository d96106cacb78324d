//! The record of a package in a database of rpm: a header without its magic (RPM's "Header format").
//! Numbers are big-endian.

use super::super::package::{Package, text};
use super::source::DatabaseError;
use crate::linux::bytes::Fields;

/// An entry of the index: tag, type, offset and count.
const ENTRY: usize = 16;
/// Most entries, and most bytes of data, by rpm itself (lib/header.c).
const MAX_ENTRIES: usize = 0xffff;
const MAX_DATA: usize = 0x0fff_ffff;
/// Most bytes of a text. The longest that packages have are their licenses, of a few KiB.
const MAX_TEXT: usize = 64 << 10;

mod tag {
    pub const NAME: u32 = 1000;
    pub const VERSION: u32 = 1001;
    pub const RELEASE: u32 = 1002;
    pub const EPOCH: u32 = 1003;
    pub const VENDOR: u32 = 1011;
    pub const LICENSE: u32 = 1014;
    pub const ARCH: u32 = 1022;
    pub const SOURCE_RPM: u32 = 1044;
}

/// Types of data.
mod kind {
    pub const INT32: u32 = 4;
    pub const STRING: u32 = 6;
    pub const STRING_ARRAY: u32 = 8;
    pub const I18N_STRING: u32 = 9;
}

/// The package of a record; `None` for an imported key, which is no package.
pub fn package(record: &[u8]) -> Result<Option<Package>, DatabaseError> {
    let header = Header::new(record)?;
    let required = |tag, what| header.text(tag)?.ok_or(DatabaseError::Malformed(what));
    let name = required(tag::NAME, "a package without a name")?;
    if name == "gpg-pubkey" {
        return Ok(None);
    }
    let version = required(tag::VERSION, "a package without a version")?;
    let release = required(tag::RELEASE, "a package without a release")?;
    let epoch = header.number(tag::EPOCH)?;
    let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
    Ok(Some(Package {
        name,
        version: format!("{epoch}{version}-{release}"),
        architecture: header.text(tag::ARCH)?,
        source: header.text(tag::SOURCE_RPM)?,
        vendor: header.text(tag::VENDOR)?,
        license: header.text(tag::LICENSE)?,
    }))
}

/// A record whose lengths were checked.
struct Header<'a> {
    entries: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn new(record: &'a [u8]) -> Result<Self, DatabaseError> {
        let length = |at| {
            record
                .get_be32(at)
                .and_then(|length| usize::try_from(length).ok())
        };
        let lengths = length(0).zip(length(4));
        let known = lengths.filter(|(entries, data)| *entries <= MAX_ENTRIES && *data <= MAX_DATA);
        let parts = known.and_then(|(entries, data)| {
            let (entries, rest) = record.get(8..)?.split_at_checked(entries * ENTRY)?;
            (rest.len() == data).then_some((entries, rest))
        });
        match parts {
            Some((entries, data)) => Ok(Self { entries, data }),
            None => Err(DatabaseError::Malformed(
                "a package whose record has another length than it says",
            )),
        }
    }

    /// Type and data of a tag. Of several the last one is valid: it was added after the package was made.
    fn entry(&self, tag: u32) -> Result<Option<(u32, &'a [u8])>, DatabaseError> {
        let mut entries = self.entries.chunks_exact(ENTRY).rev();
        let Some(entry) = entries.find(|entry| entry.get_be32(0) == Some(tag)) else {
            return Ok(None);
        };
        let offset = entry
            .get_be32(8)
            .and_then(|offset| usize::try_from(offset).ok());
        let data = offset.and_then(|offset| self.data.get(offset..));
        match entry.get_be32(4).zip(data) {
            Some(found) => Ok(Some(found)),
            None => Err(Self::OUTSIDE),
        }
    }

    const OUTSIDE: DatabaseError =
        DatabaseError::Malformed("a package whose data lie outside of its record");

    /// The first text of a tag.
    fn text(&self, tag: u32) -> Result<Option<String>, DatabaseError> {
        match self.entry(tag)? {
            Some((kind::STRING | kind::STRING_ARRAY | kind::I18N_STRING, data)) => {
                let end = data.iter().position(|byte| *byte == 0);
                match end.ok_or(Self::OUTSIDE)? {
                    end if end <= MAX_TEXT => Ok(text(&data[..end])),
                    _ => Err(DatabaseError::Malformed("a package with too long a text")),
                }
            }
            Some(_) => Err(DatabaseError::Malformed(
                "a package with data of another type",
            )),
            None => Ok(None),
        }
    }

    fn number(&self, tag: u32) -> Result<Option<u32>, DatabaseError> {
        match self.entry(tag)? {
            Some((kind::INT32, data)) => Ok(Some(data.get_be32(0).ok_or(Self::OUTSIDE)?)),
            Some(_) => Err(DatabaseError::Malformed(
                "a package with data of another type",
            )),
            None => Ok(None),
        }
    }
}
