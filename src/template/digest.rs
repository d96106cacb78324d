//! Digests that detect damage: XXH3 of 128 bits, which is as fast as memory. They are no protection
//! from attackers: only the user can write to the store.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The digest of some bytes, as 32 hexadecimal digits.
pub fn of(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

#[derive(Default)]
pub struct Digest(Xxh3);

impl Digest {
    pub fn add(&mut self, place: u64, bytes: &[u8]) {
        self.0.update(&place.to_le_bytes());
        self.0.update(bytes);
    }

    pub fn finish(&self) -> String {
        format!("{:032x}", self.0.digest128())
    }
}
