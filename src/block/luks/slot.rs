//! What both versions of the header say of the data and of the key slots, and trying a passphrase on one.

use super::digest::Hash;
use super::{Kdf, cipher, splitter};
use crate::protocol::crypt::VolumeKey;

/// The largest key, in bytes: XTS with two keys of 256 bits is 64.
const LARGEST_KEY: usize = 512;
/// The largest area of a slot, in bytes. That of a key of 64 bytes has 256000.
const LARGEST_AREA: u64 = 4 << 20;
/// Both versions have 4000 stripes in practice.
const MOST_STRIPES: usize = 8000;

/// The data, as [`CryptVolume`] has it.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) cipher: String,
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
    pub(super) iv_offset: u64,
    pub(super) sector_size: u32,
}

/// A slot: the volume's key, encrypted by one passphrase.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Its number.
    pub name: String,
    pub area: Area,
    pub(super) kdf: Kdf,
    /// How the area is encrypted, and by how many bytes of key.
    pub(super) area_cipher: String,
    pub(super) area_key: usize,
    /// The length of the volume's key in bytes.
    pub(super) key: usize,
    pub(super) stripes: usize,
    pub(super) split_hash: Hash,
    pub(super) digest: Digest,
}

/// Bytes of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub offset: u64,
    pub bytes: u64,
}

/// What shows that a key is the right one.
#[derive(Clone, Debug)]
pub(super) struct Digest {
    pub(super) kdf: Kdf,
    pub(super) value: Vec<u8>,
}

impl Data {
    /// The cipher becomes a word of the table that the kernel parses.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:()".contains(&byte);
        if self.cipher.len() > 128 || !self.cipher.bytes().all(is_word) {
            return Err("its cipher has an impossible name".to_owned());
        }
        if self.cipher.starts_with("cipher_null") {
            return Err("it is not encrypted (cipher_null), which is not supported".to_owned());
        }
        match self.sector_size {
            512 | 1024 | 2048 | 4096 => Ok(()),
            size => Err(format!("sectors of {size} bytes are not supported")),
        }
    }
}

impl Slot {
    pub(super) fn check(&self) -> Result<(), String> {
        let needed = self.key.saturating_mul(self.stripes) as u64;
        let is_possible = (1..=LARGEST_KEY).contains(&self.key)
            && (1..=LARGEST_KEY).contains(&self.area_key)
            && (1..=MOST_STRIPES).contains(&self.stripes)
            && self.area.bytes <= LARGEST_AREA
            && self.area.bytes >= needed
            && (16..=64).contains(&self.digest.value.len());
        match is_possible {
            true => Ok(()),
            false => Err(format!("its key slot {} has impossible sizes", self.name)),
        }
    }

    /// The memory that trying a passphrase takes, in bytes.
    pub fn memory(&self) -> u64 {
        self.kdf.memory()
    }

    /// Tries a passphrase with the bytes of the slot's area. `None` if it is the wrong one; the error says
    /// why the slot cannot be used. Takes seconds by design.
    pub fn open(&self, passphrase: &[u8], area: &[u8]) -> Result<Option<VolumeKey>, String> {
        let split = self.key * self.stripes;
        let whole = split.next_multiple_of(cipher::SECTOR);
        let mut split_key = area
            .get(..whole.min(area.len()))
            .unwrap_or_default()
            .to_vec();
        if split_key.len() < split {
            return Err(format!("its key slot {} was cut off", self.name));
        }
        split_key.resize(whole, 0);
        let key = self.kdf.derive(passphrase, self.area_key)?;
        cipher::decrypt(&self.area_cipher, &key, &mut split_key)?;
        let key = splitter::merge(self.split_hash, &split_key[..split], self.key);
        let found = self.digest.kdf.derive(&key, self.digest.value.len())?;
        Ok((found == self.digest.value).then_some(VolumeKey(key)))
    }
}
