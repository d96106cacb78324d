//! Random numbers of a test, which can be had again: it prints what they began with, and takes
//! that back from BIVOUAC_TEST_SEED.

use std::time::{SystemTime, UNIX_EPOCH};

/// Marsaglia's xorshift64: any numbers will do.
pub struct Random(u64);

impl Random {
    /// Other numbers in every run, unless BIVOUAC_TEST_SEED says which.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self::or(now.as_nanos() as u64)
    }

    /// The numbers that begin with `start`, unless BIVOUAC_TEST_SEED says which.
    pub fn or(start: u64) -> Self {
        let told = std::env::var("BIVOUAC_TEST_SEED").ok();
        let told = told.map(|text| text.parse().expect("BIVOUAC_TEST_SEED is a number"));
        let start: u64 = told.unwrap_or(start);
        println!("again with the same random numbers: BIVOUAC_TEST_SEED={start}");
        // Zero would stay zero.
        Self(start.max(1))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}
