//! The header extensions of a qcow2 image: small tagged records after the fixed header.
//!
//! Only the header is read, not what an extension points to.

use super::HeaderError;
use crate::linux::bytes::Fields;
use std::collections::BTreeSet;

/// "End of the header extension area".
const END: u32 = 0;
/// "Backing file format name string".
pub(super) const BACKING_FORMAT: u32 = 0xE279_2ACA;
/// "Feature name table".
const FEATURE_NAMES: u32 = 0x6803_F857;
/// "External data file name string".
const DATA_FILE_NAME: u32 = 0x4441_5441;

/// A feature name table's record: type, bit number, 46 bytes of name.
const FEATURE_RECORD: usize = 48;

/// The extensions that matter to a launcher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub backing_format: Option<Vec<u8>>,
    pub data_file: Option<Vec<u8>>,
    /// Names of incompatible features, by bit.
    pub incompatible_names: Vec<(u8, String)>,
}

impl Extensions {
    /// Reads the extensions in `bytes` from `start` to `end`, both offsets in the file.
    ///
    /// `bytes` may stop before `end`; if an extension needs what is missing, the error is
    /// [`HeaderError::Truncated`].
    pub fn parse(bytes: &[u8], start: usize, end: usize) -> Result<Self, HeaderError> {
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        let mut at = start;
        // Without room for one more record, the area ends.
        while at + 8 <= end {
            let record = bytes.get(at..at + 8).ok_or(HeaderError::Truncated)?;
            let (kind, length) = (record.be32(0), record.be32(4) as usize);
            at += 8;
            // QEMU checks the length of the end marker too.
            if length > end - at {
                return Err(HeaderError::ExtensionTooLong { kind, length });
            }
            if kind == END {
                break;
            }
            if !seen.insert(kind) {
                return Err(HeaderError::DuplicateExtension { kind });
            }
            let data = bytes.get(at..at + length).ok_or(HeaderError::Truncated)?;
            match kind {
                // QEMU reads it into 16 bytes, the last for a NUL.
                BACKING_FORMAT if length >= 16 => {
                    return Err(HeaderError::FormatNameTooLong { length });
                }
                BACKING_FORMAT => found.backing_format = Some(data.to_vec()),
                DATA_FILE_NAME => found.data_file = Some(data[..length.min(1023)].to_vec()),
                FEATURE_NAMES => found.incompatible_names = incompatible_names(data),
                // "Any unknown extension must be ignored."
                _ => {}
            }
            at += length.next_multiple_of(8);
        }
        Ok(found)
    }
}

/// The names in a feature name table that are of type 0, incompatible: at most one for each
/// of the 64 bits, the first if there are several.
fn incompatible_names(table: &[u8]) -> Vec<(u8, String)> {
    let mut names: Vec<(u8, String)> = Vec::new();
    for record in table.chunks_exact(FEATURE_RECORD) {
        let (kind, bit) = (record[0], record[1]);
        if kind == 0 && bit < 64 && !names.iter().any(|(known, _)| *known == bit) {
            let name = record[2..]
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default();
            names.push((bit, String::from_utf8_lossy(name).into_owned()));
        }
    }
    names
}
