//! A `.deb`: an ar archive (deb(5), ar(5)) in which `data.tar`, compressed or not, has the files.

use std::io::{self, Read};

use super::decoder::decoder;
use super::{PackageError, Visit, fill, relative, skip};
use crate::archive::{self, Kind};

pub(super) const MAGIC: &[u8] = b"!<arch>\n";
/// The header of a member: its name, 16 bytes; at 48 its size, 10 decimal digits; at 58 the end.
const HEADER: usize = 60;
const HEADER_END: &[u8] = b"`\n";

pub(super) fn read(mut from: impl Read, visit: Visit<'_>) -> Result<(), PackageError> {
    fill(&mut from, &mut [0; MAGIC.len()])?;
    loop {
        let mut header = [0; HEADER];
        fill(&mut from, &mut header)?;
        let size = size(&header).ok_or(PackageError::Malformed("a header of ar"))?;
        if header.starts_with(b"data.tar") {
            return files(decoder(from.take(size))?, visit);
        }
        // Members begin at even offsets.
        skip(&mut from, size + size % 2)?;
    }
}

fn size(header: &[u8; HEADER]) -> Option<u64> {
    let digits = std::str::from_utf8(&header[48..58]).ok()?.trim_end();
    let is_whole = header.ends_with(HEADER_END) && digits.bytes().all(|c| c.is_ascii_digit());
    is_whole.then(|| digits.parse().ok())?
}

fn files(tar: impl Read, visit: Visit<'_>) -> Result<(), PackageError> {
    let mut reader = archive::Reader::new(tar);
    while let Some(member) = reader.next()? {
        // A sparse file's data is not its content; packages have none.
        if member.kind == Kind::File && member.segments.is_none() {
            visit(&relative(&member.path)?, &mut Content(&mut reader))?;
        }
    }
    Ok(())
}

struct Content<'a, R>(&'a mut archive::Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(io::Error::other)
    }
}
