//! A cpio archive in the "new ASCII" format (cpio(5)), as in an `.rpm`.

use std::io::{self, Read};

use super::{LONGEST_PATH, PackageError, Visit, fill, relative, skip};

/// A magic and 13 numbers of eight hexadecimal digits.
const HEADER: usize = 110;
/// Without and with check sums.
const MAGICS: [&[u8]; 2] = [b"070701", b"070702"];
/// Of packages with files of more than 4 GiB; names and sizes are in the package's header.
const LARGE_MAGIC: &[u8] = b"07070X";
const END: &[u8] = b"TRAILER!!!";

const S_IFMT: u64 = 0o170_000;
const S_IFREG: u64 = 0o100_000;

pub(super) fn read(mut from: impl Read, visit: Visit<'_>) -> Result<(), PackageError> {
    loop {
        let mut header = [0; HEADER];
        fill(&mut from, &mut header)?;
        if header.starts_with(LARGE_MAGIC) {
            return Err(PackageError::Unsupported("its format for large files"));
        }
        let bad = || PackageError::Malformed("a header of cpio");
        if !MAGICS.iter().any(|magic| header.starts_with(magic)) {
            return Err(bad());
        }
        let field = |number: usize| field(&header, number).ok_or_else(bad);
        let (mode, links, size, name_size) = (field(1)?, field(4)?, field(6)?, field(11)?);
        if name_size == 0 || name_size > LONGEST_PATH as u64 {
            return Err(bad());
        }
        let mut name = vec![0; name_size as usize];
        fill(&mut from, &mut name)?;
        skip(&mut from, padding(HEADER as u64 + name_size))?;
        // It ends with a NUL.
        name.pop();
        if name == END {
            return Ok(());
        }
        let mut content = (&mut from).take(size);
        // Of several hard links to one file, the last has the content.
        let is_link = links > 1 && size == 0;
        if mode & S_IFMT == S_IFREG && !is_link {
            visit(&relative(&name)?, &mut content)?;
        }
        io::copy(&mut content, &mut io::sink())?;
        if content.limit() > 0 {
            return Err(PackageError::Malformed("it ends too early"));
        }
        skip(&mut from, padding(size))?;
    }
}

fn field(header: &[u8; HEADER], number: usize) -> Option<u64> {
    let digits = header.get(6 + number * 8..)?.get(..8)?;
    digits.iter().try_fold(0, |sum, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(sum << 4 | u64::from(digit))
    })
}

/// Names and contents are filled to four bytes.
fn padding(length: u64) -> u64 {
    length.wrapping_neg() % 4
}
