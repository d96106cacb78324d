//! What a template records about itself: one line with a magic, a version and a digest, and below it
//! JSON with the complete key in clear.

use serde::{Deserialize, Serialize};

use super::digest;
use super::key::Key;
use crate::linux::file_id::FileStamp;

const MAGIC: &str = "bivouac-template";
/// The version of what a template's directory holds.
const VERSION: &str = "3";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub key: Key,
    /// QEMU's machine type with its version, such as `pc-q35-7.2`.
    pub machine: String,
    /// QEMU's version: major, minor, micro.
    pub qemu: (u64, u64, u64),
    /// The memory's file as it was when it was written.
    pub memory: FileStamp,
    pub memory_digest: String,
    /// The digest of the state of everything else.
    pub state_digest: String,
    /// Whether the machine went on when it was saved: its state has no firmware in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub devices_only: bool,
    /// The machine's overlays, in the order of its disks; none where its disks were empty.
    pub overlays: Vec<OverlayRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRecord {
    pub identity: FileStamp,
    pub digest: String,
}

impl Manifest {
    pub fn to_text(&self) -> String {
        // Strings and numbers only: that never fails.
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        format!("{MAGIC} {VERSION} {}\n{json}", digest::of(json.as_bytes()))
    }

    /// Parses it. None if it is of another version, or damaged.
    pub fn from_text(text: &str) -> Option<Self> {
        let (first, json) = text.split_once('\n')?;
        let expected = format!("{MAGIC} {VERSION} {}", digest::of(json.as_bytes()));
        match first == expected {
            true => serde_json::from_str(json).ok(),
            false => None,
        }
    }
}
