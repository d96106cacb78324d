//! Encrypted volumes: what the agent found, and what it needs to open them. The host derives the key from
//! a passphrase, so no passphrase reaches the guest, unless a program that runs there has to open it.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::disks::Kind;

/// A key. In JSON: hexadecimal digits. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeKey(pub Vec<u8>);

impl VolumeKey {
    /// As the kernel's dm-crypt takes it.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key of {} bytes", self.0.len())
    }
}

impl Serialize for VolumeKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for VolumeKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes().chunks(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok().filter(|_| pair.len() == 2)?;
            u8::from_str_radix(text, 16).ok()
        });
        let bytes: Option<Vec<u8>> = digits.collect();
        bytes
            .map(Self)
            .ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

/// The data of an encrypted volume, as dm-crypt takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CryptVolume {
    /// Such as `aes-xts-plain64`.
    pub cipher: String,
    pub key: VolumeKey,
    /// Where the data begins on the device, in sectors of 512 bytes.
    pub offset: u64,
    /// In sectors of 512 bytes; `None` to the end of the device.
    pub length: Option<u64>,
    /// What is added to the number of a sector for its initialization vector.
    pub iv_offset: u64,
    /// The bytes that are encrypted at a time: 512, 1024, 2048 or 4096.
    pub sector_size: u32,
}

/// An encrypted volume that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedVolume {
    /// Its node.
    pub device: String,
    /// How it is encrypted.
    pub kind: Kind,
    /// The name that it gets below /dev/mapper.
    pub name: String,
    /// Names of it by which a user may mean it.
    pub aliases: Vec<String>,
    /// Untrusted.
    pub uuid: Option<String>,
    /// Its size.
    pub bytes: u64,
}

/// How a volume is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opening {
    /// By the agent, with this.
    Crypt(CryptVolume),
    /// A program in the appliance has opened it, as [`LockedVolume::name`].
    Mapped,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlock {
    /// [`LockedVolume::device`].
    pub device: String,
    /// How to open it, or why it stays closed.
    pub volume: Result<Opening, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hexadecimal_in_json_and_nowhere_else_to_be_seen() {
        let key = VolumeKey(vec![0, 0x1f, 0xff]);
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, "\"001fff\"");
        assert_eq!(serde_json::from_str::<VolumeKey>(&json).unwrap(), key);
        assert_eq!(format!("{key:?}"), "a key of 3 bytes");
        for wrong in ["\"0\"", "\"0g\"", "\"é\"", "1"] {
            assert!(serde_json::from_str::<VolumeKey>(wrong).is_err(), "{wrong}");
        }
    }
}
