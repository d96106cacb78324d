//! Records: the values of a stream that lists files. Each is its length, in four bytes, little-endian, and
//! the value in [postcard's format](https://postcard.jamesmunns.com/wire-format). They are binary because there
//! are many: JSON takes an emulated processor several times as long, and is four times as long itself.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{MAX_RECORD, WireError};

/// The size of a record's length.
pub const RECORD_HEADER: usize = 4;

/// Appends a record. Fails if it is longer than [`MAX_RECORD`]; then `out` is empty.
pub fn put_record<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), WireError> {
    let mut written = std::mem::take(out);
    let start = written.len() + RECORD_HEADER;
    written.resize(start, 0);
    let mut written = postcard::to_extend(value, written)
        .map_err(|error| WireError::malformed("record", &error))?;
    let length = u32::try_from(written.len() - start).unwrap_or(u32::MAX);
    record_length(length.to_le_bytes())?;
    written[start - RECORD_HEADER..start].copy_from_slice(&length.to_le_bytes());
    *out = written;
    Ok(())
}

/// The length of the value that follows.
pub fn record_length(header: [u8; RECORD_HEADER]) -> Result<usize, WireError> {
    let length = u32::from_le_bytes(header);
    match usize::try_from(length) {
        Ok(bytes) if bytes <= MAX_RECORD => Ok(bytes),
        _ => Err(WireError::Record(length)),
    }
}

/// Reads the value of a record, of which it must be all.
pub fn parse_record<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, more)) => {
            let why = format!("{} bytes more", more.len());
            Err(WireError::malformed("record", &why))
        }
        Err(error) => Err(WireError::malformed("record", &error)),
    }
}
