//! The start of an encrypted volume as bytes: how much of it to read, the header, and what it says of its
//! slots. Of version 2 the size and the checksum are made right, so that the JSON is read. No key is derived:
//! that takes time by design.
#![no_main]

use bivouac::block::luks::Header;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

const SIZE: usize = 0x4000;
const CHECKSUM: std::ops::Range<usize> = 448..512;

fuzz_target!(|data: &[u8]| {
    look_at(data);
    if data.get(..8) == Some(b"LUKS\xba\xbe\0\x02") {
        let mut data = data.to_vec();
        data.resize(SIZE, 0);
        data[8..16].copy_from_slice(&(SIZE as u64).to_be_bytes());
        data[72..104].fill(0);
        data[72..78].copy_from_slice(b"sha256");
        data[CHECKSUM].fill(0);
        let sum = Sha256::digest(&data);
        data[CHECKSUM][..sum.len()].copy_from_slice(&sum);
        look_at(&data);
    }
});

fn look_at(data: &[u8]) {
    assert!((4096..=8 << 20).contains(&Header::length(data)));
    if let Ok(header) = Header::parse(data) {
        for slot in &header.slots {
            assert!(slot.area.bytes <= 4 << 20);
            assert!(slot.memory() <= u64::from(u32::MAX) << 10);
        }
    }
}
