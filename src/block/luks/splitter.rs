//! The anti-forensic splitter: a key is stored as many stripes, all of which are needed to have it back.

use super::digest::Hash;

/// The key of `length` bytes from its stripes.
pub(super) fn merge(hash: Hash, stripes: &[u8], length: usize) -> Vec<u8> {
    let mut key = vec![0; length];
    let last = stripes.len() / length;
    for (index, stripe) in stripes.chunks_exact(length).enumerate() {
        key.iter_mut()
            .zip(stripe)
            .for_each(|(key, byte)| *key ^= byte);
        if index + 1 < last {
            key = diffuse(hash, &key);
        }
    }
    key
}

/// Each piece of the size of a digest becomes the digest of its number and itself.
fn diffuse(hash: Hash, block: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len());
    for (number, piece) in block.chunks(hash.length()).enumerate() {
        let number = (number as u32).to_be_bytes();
        out.extend(&hash.of(&[&number, piece])[..piece.len()]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inverse of [`merge`], by the specification.
    fn split(hash: Hash, key: &[u8], random: &[u8]) -> Vec<u8> {
        let xor = |a: &[u8], b: &[u8]| -> Vec<u8> { a.iter().zip(b).map(|(a, b)| a ^ b).collect() };
        let mut block = vec![0; key.len()];
        for stripe in random.chunks_exact(key.len()) {
            block = diffuse(hash, &xor(&block, stripe));
        }
        [random, &xor(&block, key)].concat()
    }

    #[test]
    fn the_stripes_of_a_key_give_it_back_and_one_bit_changes_it() {
        let hashes = [Hash::Sha1, Hash::Sha256, Hash::Sha512, Hash::Ripemd160];
        for (hash, length) in hashes.into_iter().flat_map(|hash| [(hash, 16), (hash, 64)]) {
            let key: Vec<u8> = (0..length as u8).collect();
            let random: Vec<u8> = (0..length * 9).map(|at| (at * 7 % 251) as u8).collect();
            let mut stripes = split(hash, &key, &random);
            assert_eq!(merge(hash, &stripes, length), key);
            stripes[0] ^= 1;
            assert_ne!(merge(hash, &stripes, length), key);
        }
    }
}
