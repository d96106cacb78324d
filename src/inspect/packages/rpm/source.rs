//! A file of a database that is read a piece at a time: how large it is, and what goes wrong.

use std::collections::VecDeque;
use std::future::Future;

use thiserror::Error;

use super::super::package::Package;
use crate::inspect::image_files::ImageFiles;
use crate::session::SessionError;

/// The largest database that is read. One with 3,000 packages has 200 MB.
pub const MAX_DATABASE: u64 = 1 << 30;
/// The largest record of a package. The kernel's sources have 80,000 files and 10 MB.
pub const MAX_RECORD: usize = 64 << 20;
/// Most packages, and most bytes of their texts: 512 for each.
pub const MAX_PACKAGES: usize = 1 << 19;
const MAX_TEXT: usize = 256 << 20;

#[derive(Debug, Error)]
pub enum DatabaseError {
    #[error("{what} at byte {offset} is damaged or cut off")]
    Damaged { what: &'static str, offset: u64 },
    #[error("it is damaged: {0}")]
    Malformed(&'static str),
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("{what} is larger than {mib} MiB")]
    TooLarge { what: &'static str, mib: u64 },
    #[error("it cannot be read")]
    Unreadable,
    #[error("its log cannot be read")]
    Log,
    /// The end of the conversation with the guest, not of this database.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl DatabaseError {
    /// Of what another page leads to in its place nothing was read.
    pub const USED_TWICE: Self = Self::Malformed("a page is used twice");
    pub const TOO_MANY: Self = Self::Unsupported("so many packages");

    pub fn damaged(what: &'static str, offset: u64) -> Self {
        Self::Damaged { what, offset }
    }
}

/// What could be read of a database, and what is wrong with the rest.
#[derive(Debug, Default)]
pub struct Contents {
    pub found: Vec<Package>,
    /// The first fault.
    pub fault: Option<DatabaseError>,
    pub faults: usize,
    /// Bytes of the texts of `found`.
    text: usize,
}

impl Contents {
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a result, if there is room for it. An error is of the session only.
    pub fn add(
        &mut self,
        result: Result<Option<Package>, DatabaseError>,
    ) -> Result<(), SessionError> {
        match result {
            Ok(None) => {}
            Ok(Some(package)) => {
                let text = self.text.saturating_add(package.weight());
                if self.found.len() == MAX_PACKAGES || text > MAX_TEXT {
                    return self.add(Err(DatabaseError::TOO_MANY));
                }
                self.text = text;
                self.found.push(package);
            }
            Err(DatabaseError::Session(error)) => return Err(error),
            Err(error) => {
                self.faults = self.faults.saturating_add(1);
                self.fault.get_or_insert(error);
            }
        }
        Ok(())
    }
}

/// A file that can be read at any offset.
pub trait Source {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// `length` bytes from `offset` on. Fewer are an error.
    fn bytes(
        &mut self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Vec<u8>, DatabaseError>>;
}

impl Source for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    async fn bytes(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, DatabaseError> {
        let start = usize::try_from(offset).ok();
        let found = start.and_then(|start| self.get(start..)?.get(..length));
        let cut = DatabaseError::damaged("the file", offset);
        found.map(<[u8]>::to_vec).ok_or(cut)
    }
}

/// A piece of a file that is requested at once, and how many are kept: 16 MiB in all.
const PIECE: u64 = 256 << 10;
const KEPT: usize = 64;

/// A file of an image, with the pieces of it that were used last. Databases are read from front to
/// back mostly, but a record may lie in pages anywhere.
#[derive(Debug)]
pub struct ImageFile<'a> {
    files: ImageFiles<'a>,
    path: String,
    size: u64,
    /// The one that was used last is the first.
    pieces: VecDeque<(u64, Vec<u8>)>,
}

impl<'a> ImageFile<'a> {
    pub async fn open(files: ImageFiles<'a>, path: String) -> Result<Self, DatabaseError> {
        let Some(stat) = files.stat(&path).await? else {
            return Err(DatabaseError::Unreadable);
        };
        match stat.size <= MAX_DATABASE {
            true => Ok(Self {
                files,
                path,
                size: stat.size,
                pieces: VecDeque::new(),
            }),
            false => Err(DatabaseError::TooLarge {
                what: "the file",
                mib: MAX_DATABASE >> 20,
            }),
        }
    }

    /// The piece of this number, which becomes the first.
    async fn piece(&mut self, number: u64) -> Result<&[u8], DatabaseError> {
        let place = self.pieces.iter().position(|(kept, _)| *kept == number);
        let piece = match place.and_then(|place| self.pieces.remove(place)) {
            Some(piece) => piece,
            None => {
                let offset = number.saturating_mul(PIECE);
                let read = self.files.bytes_at(&self.path, offset, PIECE).await?;
                let bytes = read.ok_or(DatabaseError::Unreadable)?;
                (number, bytes)
            }
        };
        self.pieces.truncate(KEPT - 1);
        self.pieces.push_front(piece);
        Ok(self.pieces.front().map_or(&[], |(_, bytes)| bytes))
    }
}

impl Source for ImageFile<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    async fn bytes(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, DatabaseError> {
        let cut = DatabaseError::damaged("the file", offset);
        let end = offset.checked_add(length as u64);
        let Some(end) = end.filter(|end| *end <= self.size) else {
            return Err(cut);
        };
        let mut found = Vec::with_capacity(length);
        let mut at = offset;
        while at < end {
            let skipped = (at % PIECE) as usize;
            let wanted = (end - at).min(PIECE - skipped as u64) as usize;
            let piece = self.piece(at / PIECE).await?;
            let Some(part) = piece.get(skipped..).and_then(|part| part.get(..wanted)) else {
                return Err(cut);
            };
            found.extend_from_slice(part);
            at += wanted as u64;
        }
        Ok(found)
    }
}
