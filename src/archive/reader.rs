//! Reads a tar stream: blocks to members.

use std::io::Read;

use super::member::{Kind, Member};
use super::{ArchiveError, BLOCK, MAX_EXTENDED, MAX_SEGMENTS, padding};

/// The longest name in bytes that is read from a GNU header.
const MAX_NAME: u64 = 64 << 10;

#[derive(Debug)]
pub struct Reader<R> {
    stream: R,
    /// How many bytes of data of the current member were not read yet.
    left: u64,
    /// How many bytes after them fill the block.
    fill: u64,
}

/// What extended headers said about the next member.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    modified: Option<(i64, u32)>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    sparse_version: (Option<u64>, Option<u64>),
    real_size: Option<u64>,
}

impl<R: Read> Reader<R> {
    pub fn new(stream: R) -> Self {
        let (left, fill) = (0, 0);
        Self { stream, left, fill }
    }

    /// The next member; data of the last one that was not read is skipped. `None` at the marked
    /// end of the stream.
    #[allow(clippy::should_implement_trait, reason = "an iterator would not fail")]
    pub fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        self.skip()?;
        let mut extended = Extended::default();
        // Several headers may describe one member; their sum has the limit of one.
        let mut room = MAX_EXTENDED as u64;
        loop {
            let mut block = [0; BLOCK];
            self.exactly(&mut block)?;
            if block.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            check_sum(&block)?;
            let size = number(&block[124..136])?;
            match block[156] {
                b'x' => {
                    let records = self.payload(size, room, "an extended header")?;
                    room -= size;
                    extended.read(&records)?;
                }
                // Defaults for all members: skipped.
                b'g' => drop(self.payload(size, MAX_EXTENDED as u64, "an extended header")?),
                b'L' => extended.path = Some(until_nul(&self.payload(size, MAX_NAME, "a name")?)),
                b'K' => extended.target = Some(until_nul(&self.payload(size, MAX_NAME, "a name")?)),
                letter => {
                    let kind = Kind::of_letter(letter)
                        .ok_or(ArchiveError::Malformed("a member of unknown type"))?;
                    return self.member(&block, kind, size, extended).map(Some);
                }
            }
        }
    }

    fn member(
        &mut self,
        block: &[u8; BLOCK],
        kind: Kind,
        size: u64,
        extended: Extended,
    ) -> Result<Member, ArchiveError> {
        let stored = match kind {
            Kind::File => extended.size.unwrap_or(size),
            // Some writers give a hard link the size of its file, but no data.
            _ => 0,
        };
        if stored > i64::MAX as u64 {
            return Err(ArchiveError::TooLarge("a file"));
        }
        self.left = stored;
        self.fill = padding(stored).len() as u64;
        let small = |at: std::ops::Range<usize>| {
            let found = number(&block[at])?;
            u32::try_from(found).map_err(|_| ArchiveError::TooLarge("a number"))
        };
        let mut member = Member {
            path: extended.path.unwrap_or_else(|| ustar_path(block)),
            kind,
            mode: small(100..108)? & 0o7777,
            uid: extended.uid.map_or_else(|| small(108..116), Ok)?,
            gid: extended.gid.map_or_else(|| small(116..124), Ok)?,
            size: stored,
            modified: match extended.modified {
                Some(modified) => modified,
                None => (moment(&block[136..148])?, 0),
            },
            target: extended
                .target
                .unwrap_or_else(|| until_nul(&block[157..257])),
            device: match kind {
                Kind::Block | Kind::Character => (small(329..337)?, small(337..345)?),
                _ => (0, 0),
            },
            attributes: extended.attributes,
            segments: None,
        };
        match extended.sparse_version {
            (None, None) => {}
            (Some(1), Some(0)) if kind == Kind::File => {
                let size = extended.real_size;
                member.size = size.ok_or(ArchiveError::Malformed("a sparse file without size"))?;
                member.segments = Some(self.sparse_map(member.size)?);
            }
            _ => return Err(ArchiveError::Malformed("an old sparse format")),
        }
        // Most writers let the name of a directory end in a slash, some not.
        while kind == Kind::Directory && member.path.len() > 1 && member.path.ends_with(b"/") {
            member.path.pop();
        }
        if member.path.contains(&0) || member.target.contains(&0) {
            return Err(ArchiveError::Malformed("a name with a NUL"));
        }
        Ok(member)
    }

    /// Reads the map before a sparse file's data, and checks it against both sizes.
    fn sparse_map(&mut self, size: u64) -> Result<Vec<(u64, u64)>, ArchiveError> {
        let mut text = SparseMap {
            reader: self,
            block: [0; BLOCK],
            at: BLOCK,
        };
        let count = text.number()?;
        if count > 4 * MAX_SEGMENTS as u64 {
            return Err(ArchiveError::TooLarge("a sparse map"));
        }
        let (mut segments, mut end, mut total) = (Vec::new(), 0, 0);
        for _ in 0..count {
            let (offset, length) = (text.number()?, text.number()?);
            let next = offset.checked_add(length).filter(|&next| next <= size);
            match next {
                Some(next) if offset >= end => (end, total) = (next, total + length),
                _ => return Err(BAD_MAP),
            }
            segments.push((offset, length));
        }
        match total == self.left {
            true => Ok(segments),
            false => Err(BAD_MAP),
        }
    }

    /// Reads some of the current member's data; 0 at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let read = match most {
            0 => 0,
            most => self.stream.read(&mut buffer[..most])?,
        };
        self.left -= read as u64;
        match read == 0 && most > 0 {
            true => Err(ArchiveError::Truncated),
            false => Ok(read),
        }
    }

    fn skip(&mut self) -> Result<(), ArchiveError> {
        self.left += std::mem::take(&mut self.fill);
        let mut buffer = [0; 8192];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        self.stream
            .read_exact(buffer)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
                _ => error.into(),
            })
    }

    fn payload(
        &mut self,
        size: u64,
        limit: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, ArchiveError> {
        if size > limit {
            return Err(ArchiveError::TooLarge(what));
        }
        // Grows with the data that arrives, not with the stated size.
        let mut bytes = Vec::new();
        let whole = size + padding(size).len() as u64;
        (&mut self.stream).take(whole).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != whole {
            return Err(ArchiveError::Truncated);
        }
        bytes.truncate(size as usize);
        Ok(bytes)
    }
}

impl Extended {
    /// Reads the records of an extended header: `LENGTH KEY=VALUE\n` each.
    fn read(&mut self, mut records: &[u8]) -> Result<(), ArchiveError> {
        let bad = || ArchiveError::Malformed("an extended header");
        while !records.is_empty() {
            let (digits, _) = split_once(records, b' ').ok_or_else(bad)?;
            let length = decimal(digits).and_then(|length| usize::try_from(length).ok());
            let length = length.ok_or_else(bad)?;
            let record = records.get(digits.len() + 1..length);
            let record = record.and_then(|record| record.strip_suffix(b"\n"));
            let (key, value) = split_once(record.ok_or_else(bad)?, b'=').ok_or_else(bad)?;
            records = &records[length..];
            let number = || decimal(value).ok_or_else(bad);
            let id = || u32::try_from(number()?).map_err(|_| ArchiveError::TooLarge("a number"));
            match key {
                b"path" | b"GNU.sparse.name" => self.path = Some(value.to_owned()),
                b"linkpath" => self.target = Some(value.to_owned()),
                b"size" => self.size = Some(number()?),
                b"uid" => self.uid = Some(id()?),
                b"gid" => self.gid = Some(id()?),
                b"mtime" => self.modified = Some(time(value).ok_or_else(bad)?),
                b"GNU.sparse.major" => self.sparse_version.0 = Some(number()?),
                b"GNU.sparse.minor" => self.sparse_version.1 = Some(number()?),
                b"GNU.sparse.realsize" => self.real_size = Some(number()?),
                // Formats 0.0 and 0.1 record no version. They are not supported.
                b"GNU.sparse.size" | b"GNU.sparse.map" => {
                    self.sparse_version.0.get_or_insert(0);
                }
                key => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        self.attributes.push((name.to_owned(), value.to_owned()));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The text of a sparse map: numbers, a line each, filled to a block.
struct SparseMap<'a, R> {
    reader: &'a mut Reader<R>,
    block: [u8; BLOCK],
    at: usize,
}

const BAD_MAP: ArchiveError = ArchiveError::Malformed("a sparse map");

impl<R: Read> SparseMap<'_, R> {
    fn number(&mut self) -> Result<u64, ArchiveError> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                let left = self.reader.left.checked_sub(BLOCK as u64);
                self.reader.left = left.ok_or(BAD_MAP)?;
                self.reader.exactly(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'0'..=b'9' if digits.len() < 20 => digits.push(byte),
                b'\n' => return decimal(&digits).ok_or(BAD_MAP),
                _ => return Err(BAD_MAP),
            }
        }
    }
}

/// Prefix and name; GNU's own magic means that there is no prefix.
fn ustar_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = until_nul(&block[345..500]);
    match prefix.is_empty() || &block[257..263] != b"ustar\0" {
        true => name,
        false => [&prefix[..], b"/", &name[..]].concat(),
    }
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    let text = split_once(bytes, 0).map_or(bytes, |(text, _)| text);
    text.to_owned()
}

/// What is before and after the first `separator`.
fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn check_sum(block: &[u8; BLOCK]) -> Result<(), ArchiveError> {
    // The field of the sum itself counts as spaces.
    let others = block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]);
    let found: u64 = others.map(|&byte| u64::from(byte)).sum();
    match number(&block[148..156]) {
        Ok(stated) if stated == found => Ok(()),
        _ => Err(ArchiveError::Malformed("a header with a wrong sum")),
    }
}

/// A number of seconds. GNU's binary format may be negative, in two's complement.
fn moment(field: &[u8]) -> Result<i64, ArchiveError> {
    match field.last_chunk() {
        Some(low) if field[0] == 0xff => Ok(i64::from_be_bytes(*low)),
        _ => number(field).map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX)),
    }
}

/// Octal digits, or GNU's binary format if the first bit is set.
fn number(field: &[u8]) -> Result<u64, ArchiveError> {
    if let [0x80, rest @ ..] = field {
        let (high, low) = rest.split_at(rest.len() - rest.len().min(8));
        if high.iter().any(|&byte| byte != 0) {
            return Err(ArchiveError::TooLarge("a number"));
        }
        return Ok(low.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)));
    }
    let mut text = field.iter().filter(|&&byte| byte != b' ' && byte != 0);
    text.try_fold(0_u64, |sum, &byte| match byte {
        b'0'..=b'7' if sum < 1 << 60 => Ok(sum << 3 | u64::from(byte - b'0')),
        _ => Err(ArchiveError::Malformed("a number in a header")),
    })
}

/// Digits only: `parse` alone would accept a sign.
fn decimal(digits: &[u8]) -> Option<u64> {
    let digits = Some(digits).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A decimal fraction of seconds, to nanoseconds.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (seconds, fraction) = split_once(value, b'.').unwrap_or((value, b""));
    let seconds = i64::try_from(decimal(seconds)?).ok()?;
    let nine: Vec<u8> = fraction.iter().copied().chain([b'0'; 9]).take(9).collect();
    let nanoseconds = u32::try_from(decimal(&nine)?).ok()?;
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, nanoseconds) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}
