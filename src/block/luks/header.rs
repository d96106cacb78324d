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
            2 => head.be64(8).clamp(HEAD as u64 / 2, LARGEST) * 2,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_much_is_read_as_both_copies_take_and_no_more_than_a_limit() {
        let length = |version: u8, size: u64| {
            let mut head = vec![0; HEAD];
            head[7] = version;
            head[8..16].copy_from_slice(&size.to_be_bytes());
            Header::length(&head)
        };
        assert_eq!(length(1, 1 << 20), 4096);
        assert_eq!(length(2, 0x4000), 0x8000);
        for (size, expected) in [(0, 4096), (1 << 63, 8 << 20), (u64::MAX, 8 << 20)] {
            assert_eq!(length(2, size), expected, "{size}");
        }
        assert_eq!(Header::length(b"LUKS"), 4096);
    }

    /// The seeds of the fuzz target, made by cryptsetup.
    fn seed(name: &str) -> Vec<u8> {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus-luks");
        std::fs::read(corpus.join(name)).unwrap()
    }

    #[test]
    fn headers_of_cryptsetup_have_their_slot() {
        for (name, cost) in [("version1", 0), ("version2", 32 << 10)] {
            let header = Header::parse(&seed(name)).unwrap();
            let slots: Vec<_> = header.slots.iter().map(|slot| slot.memory()).collect();
            assert_eq!(slots, [cost], "{name}");
        }
        let mut broken = seed("version2");
        broken[5000] ^= 1;
        assert!(Header::parse(&broken).is_err());
    }

    proptest! {
        /// Numbers of version 1, any of which may be the largest.
        #[test]
        fn any_header_of_version_1_is_an_error_or_has_possible_sizes(
            bytes in prop::collection::vec(prop_oneof![Just(0xff), Just(0), any::<u8>()], 592),
            names in any::<bool>(),
        ) {
            let mut bytes = bytes;
            bytes[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
            if names {
                for (at, name) in [(8, "aes"), (40, "xts-plain64"), (72, "sha256")] {
                    bytes[at..at + 32].fill(0);
                    bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
                }
                bytes[208..212].copy_from_slice(&0x00ac_71f3_u32.to_be_bytes());
            }
            prop_assert!(Header::length(&bytes) == HEAD as u64);
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert!(header.slots.iter().all(|slot| slot.area.bytes <= 4 << 20));
            }
        }
    }
}
