//! The header of an encrypted volume, of either version.

use super::slot::{Data, Slot};
use super::{version1, version2};
use crate::linux::bytes::Fields;
use crate::protocol::crypt::{CryptVolume, VolumeKey};

/// A header of version 1, and the binary part of one of version 2, in bytes.
const HEAD: usize = 4096;
/// The largest header of version 2, in bytes.
const LARGEST: u64 = 4 << 20;
/// The header of an encrypted volume.
#[derive(Clone, Debug)]
pub struct Header {
    pub slots: Vec<Slot>,
    data: Data,
}

impl Header {
    /// How many bytes at the start of the device to give to [`Header::parse`], by the first 4096.
    pub fn length(head: &[u8]) -> u64 {
        match head.be16(6) {
            2 => (2 * head.be64(8)).clamp(HEAD as u64, 2 * LARGEST),
            _ => HEAD as u64,
        }
    }

    /// The header at the start of a device, or why it cannot be used.
    pub fn parse(start: &[u8]) -> Result<Self, String> {
        let (slots, data) = match start.be16(6) {
            1 => version1::parse(start)?,
            2 => version2::parse(start)?,
            version => return Err(format!("LUKS version {version} is not supported")),
        };
        data.check()?;
        slots.iter().try_for_each(Slot::check)?;
        Ok(Self { slots, data })
    }

    /// How to open the data with `key`.
    pub fn volume(&self, key: VolumeKey) -> CryptVolume {
        let data = self.data.clone();
        CryptVolume {
            cipher: data.cipher,
            key,
            offset: data.offset,
            length: data.length,
            iv_offset: data.iv_offset,
            sector_size: data.sector_size,
        }
    }
}
