//! Data objects: a field of an entry each, `NAME=VALUE`, compressed if it is long. Entries share them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Read;

use super::JournalError;
use super::object::{Kind, Object, u64_at};

/// The longest field that is read. journald cuts off what is longer than 768 MiB; messages have some KiB.
pub const MAX_DATA: usize = 16 << 20;

/// How much memory a decoder of xz may take, in KiB.
const XZ_MEMORY: u32 = 80 << 10;

/// The flags of an object that is compressed.
const XZ: u8 = 1;
const LZ4: u8 = 2;
const ZSTD: u8 = 4;

/// A field of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where the value begins.
    value: usize,
}

impl Field<'_> {
    pub fn name(&self) -> &[u8] {
        self.bytes.get(..self.value - 1).unwrap_or_default()
    }

    pub fn value(&self) -> &[u8] {
        self.bytes.get(self.value..).unwrap_or_default()
    }
}

/// Reads the fields of one file.
#[derive(Debug)]
pub struct DataReader<'a> {
    file: &'a [u8],
    /// Where the payload of an object begins.
    payload: usize,
    /// Compressed fields that nobody asked for: they are not decompressed for the next entry again.
    unwanted: HashSet<u64>,
    /// How many bytes were decompressed.
    pub decompressed: u64,
}

impl<'a> DataReader<'a> {
    pub(super) fn new(file: &'a [u8], is_compact: bool) -> Self {
        Self {
            file,
            payload: if is_compact { 72 } else { 64 },
            unwanted: HashSet::new(),
            decompressed: 0,
        }
    }

    /// The field at `offset`, if its name `is_wanted`.
    pub fn field(
        &mut self,
        offset: u64,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Field<'a>>, JournalError> {
        if self.unwanted.contains(&offset) {
            return Ok(None);
        }
        let object = Object::at(self.file, offset, Kind::Data)?;
        let stored = object
            .bytes
            .get(self.payload..)
            .ok_or_else(|| object.damaged())?;
        let is_compressed = object.flags & (XZ | LZ4 | ZSTD) != 0;
        let bytes = match is_compressed {
            false => Cow::Borrowed(stored),
            true => {
                let bytes = decompress(object.flags, stored);
                let bytes = bytes.map_err(|reason| JournalError::Compression { offset, reason })?;
                self.decompressed += bytes.len() as u64;
                Cow::Owned(bytes)
            }
        };
        let equals = bytes.iter().position(|byte| *byte == b'=');
        let equals = equals.ok_or_else(|| object.damaged())?;
        if is_wanted(&bytes[..equals]) {
            let value = equals + 1;
            return Ok(Some(Field { bytes, value }));
        }
        if is_compressed {
            self.unwanted.insert(offset);
        }
        Ok(None)
    }
}

fn decompress(flags: u8, stored: &[u8]) -> Result<Vec<u8>, String> {
    match flags & (XZ | LZ4 | ZSTD) {
        XZ => all(lzma_rust2::XzReader::new_mem_limit(
            stored, false, XZ_MEMORY,
        )),
        ZSTD => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(stored);
            all(decoder.map_err(|error| error.to_string())?)
        }
        // The size, and a block.
        LZ4 => {
            let size = u64_at(stored, 0).and_then(|size| usize::try_from(size).ok());
            let size = size.filter(|size| *size <= MAX_DATA).ok_or_else(too_long)?;
            let mut bytes = vec![0; size];
            let written = lz4_flex::block::decompress_into(&stored[8..], &mut bytes);
            bytes.truncate(written.map_err(|error| error.to_string())?);
            Ok(bytes)
        }
        _ => Err("two compressions are stated".to_owned()),
    }
}

fn all(reader: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = reader.take(MAX_DATA as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    match bytes.len() > MAX_DATA {
        true => Err(too_long()),
        false => Ok(bytes),
    }
}

fn too_long() -> String {
    format!("it is longer than {} MiB", MAX_DATA >> 20)
}
