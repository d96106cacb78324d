//! CRC-32C (Castagnoli), the checksum of vhdx.

/// The polynomial 0x1EDC6F41, its bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut value, mut bit) = (byte as u32, 0);
        while bit < 8 {
            value = value >> 1 ^ if value & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// The checksum of all that is added.
pub(super) struct Crc32c(u32);

impl Crc32c {
    pub fn new() -> Self {
        Self(u32::MAX)
    }

    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 >> 8 ^ TABLE[usize::from(self.0 as u8 ^ byte)];
        }
    }

    pub fn sum(&self) -> u32 {
        !self.0
    }
}

/// Whether the 4 bytes at offset 4 of a structure of vhdx are the checksum of all of it, with zeros
/// in their place.
pub(super) fn is_right(bytes: &[u8]) -> bool {
    let Some((start, [a, b, c, d, rest @ ..])) = bytes.split_at_checked(4) else {
        return false;
    };
    let mut sum = Crc32c::new();
    for part in [start, &[0; 4], rest] {
        sum.add(part);
    }
    sum.sum() == u32::from_le_bytes([*a, *b, *c, *d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_the_catalogue() {
        let mut sum = Crc32c::new();
        sum.add(b"12345");
        sum.add(b"6789");
        assert_eq!(sum.sum(), 0xE306_9283);
    }
}
