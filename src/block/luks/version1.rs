//! The header of version 1. Its numbers are big-endian.

use super::Kdf;
use super::digest::Hash;
use super::slot::{Area, Data, Digest, Slot};
use crate::block::ids::lossy;
use crate::linux::bytes::Fields;

const SLOTS_AT: usize = 208;
const SLOT: usize = 48;
const ENABLED: u32 = 0x00ac_71f3;

pub(super) fn parse(head: &[u8]) -> Result<(Vec<Slot>, Data), String> {
    let cipher = format!("{}-{}", lossy(head.part(8, 32)), lossy(head.part(40, 32)));
    let hash = Hash::named(&lossy(head.part(72, 32)))?;
    let key = head.be32(108) as usize;
    let digest = Digest {
        kdf: Kdf::Pbkdf2 {
            hash,
            iterations: head.be32(164),
            salt: head.part(132, 32).to_vec(),
        },
        value: head.part(112, 20).to_vec(),
    };
    let slot = |number: usize| {
        let slot = head.part(SLOTS_AT + number * SLOT, SLOT);
        let stripes = slot.be32(44) as usize;
        (slot.be32(0) == ENABLED).then(|| Slot {
            name: number.to_string(),
            area: Area {
                offset: u64::from(slot.be32(40)) * 512,
                bytes: (key.saturating_mul(stripes) as u64).next_multiple_of(512),
            },
            kdf: Kdf::Pbkdf2 {
                hash,
                iterations: slot.be32(4),
                salt: slot.part(8, 32).to_vec(),
            },
            area_cipher: cipher.clone(),
            area_key: key,
            key,
            stripes,
            split_hash: hash,
            digest: digest.clone(),
        })
    };
    let data = Data {
        cipher: cipher.clone(),
        offset: u64::from(head.be32(104)),
        length: None,
        iv_offset: 0,
        sector_size: 512,
    };
    Ok(((0..8).filter_map(slot).collect(), data))
}
