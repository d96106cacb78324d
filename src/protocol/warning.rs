//! What of an image was not understood, not read, or is not complete.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::text::escape::Untrusted;

/// Something that a result lacks, or that makes it doubtful. Its text is untrusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    pub code: WarningCode,
    /// Device node in the guest; `None` if it is about no single one.
    pub device: Option<String>,
    /// In the kernel's own words if the kernel refused something.
    pub reason: String,
}

/// The sorts of warnings, as JSON has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarningCode {
    /// A disk did not appear, or cannot be read.
    Disk,
    /// A partition table has a fault that hides nothing.
    PartitionTable,
    /// A partition cannot be read, or not all of it.
    Partition,
    /// An LVM volume, an MD array or a btrfs lacks devices or cannot be assembled.
    Volume,
    /// An array or a group that lacks devices and is readable all the same.
    Degraded,
    /// Content that is encrypted.
    Encrypted,
    /// Content that bivouac knows and cannot read.
    Unsupported,
    /// Data that bivouac does not know.
    Unknown,
    /// A filesystem that the kernel refused to mount.
    NotMounted,
    /// A mount of the image's own list that was not made.
    Mount,
    /// A hibernated system: its filesystems may be older than what it knows.
    Hibernated,
    /// Facts about a system that could not be read.
    System,
}

impl WarningCode {
    /// Whether something is missing in the result.
    pub fn is_incomplete(self) -> bool {
        !matches!(self, Self::PartitionTable | Self::Hibernated)
    }
}

impl Warning {
    pub fn new(code: WarningCode, device: &str, reason: impl Into<String>) -> Self {
        Self {
            code,
            device: Some(device.to_owned()),
            reason: reason.into(),
        }
    }

    /// A warning about no single device.
    pub fn general(code: WarningCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            device: None,
            reason: reason.into(),
        }
    }
}

/// As a sentence for people, escaped.
impl Display for Warning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.device {
            Some(device) => write!(f, "{}: {}", Untrusted(device), Untrusted(&self.reason)),
            None => Untrusted(&self.reason).fmt(f),
        }
    }
}
