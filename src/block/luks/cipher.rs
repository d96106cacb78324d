//! Decrypting the area of a key slot, as the kernel's dm-crypt would: AES in XTS or CBC, by sectors.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};

use super::digest::Hash;

/// The unit of encryption, in bytes. Areas of key slots have no other.
pub(super) const SECTOR: usize = 512;
const BLOCK: usize = 16;

/// AES with a key of any of its sizes.
enum Aes {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl Aes {
    fn new(key: &[u8]) -> Result<Self, String> {
        let size = || format!("AES has no keys of {} bytes", key.len());
        Ok(match key.len() {
            16 => Self::Aes128(Box::new(Aes128::new_from_slice(key).map_err(|_| size())?)),
            24 => Self::Aes192(Box::new(Aes192::new_from_slice(key).map_err(|_| size())?)),
            32 => Self::Aes256(Box::new(Aes256::new_from_slice(key).map_err(|_| size())?)),
            _ => return Err(size()),
        })
    }

    fn encrypt(&self, block: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = Array::from(block);
        match self {
            Self::Aes128(aes) => aes.encrypt_block(&mut block),
            Self::Aes192(aes) => aes.encrypt_block(&mut block),
            Self::Aes256(aes) => aes.encrypt_block(&mut block),
        }
        block.into()
    }

    fn decrypt(&self, block: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = Array::from(block);
        match self {
            Self::Aes128(aes) => aes.decrypt_block(&mut block),
            Self::Aes192(aes) => aes.decrypt_block(&mut block),
            Self::Aes256(aes) => aes.decrypt_block(&mut block),
        }
        block.into()
    }
}

/// The initialization vector of a sector.
enum Vector {
    /// Its number in 32 or 64 bits.
    Plain,
    Plain64,
    /// Its number, encrypted by a hash of the key.
    Essiv(Aes),
}

impl Vector {
    fn named(name: &str, key: &[u8]) -> Option<Result<Self, String>> {
        match name {
            "plain" => Some(Ok(Self::Plain)),
            "plain64" => Some(Ok(Self::Plain64)),
            _ => {
                let hash = name.strip_prefix("essiv:")?;
                let hash = Hash::named(hash);
                Some(hash.and_then(|hash| Aes::new(&hash.of(&[key])).map(Self::Essiv)))
            }
        }
    }

    fn of(&self, sector: u64) -> [u8; BLOCK] {
        let number = match self {
            Self::Plain => sector & 0xffff_ffff,
            Self::Plain64 | Self::Essiv(_) => sector,
        };
        let vector = u128::from(number).to_le_bytes();
        match self {
            Self::Essiv(aes) => aes.encrypt(vector),
            _ => vector,
        }
    }
}

/// Decrypts whole sectors, of which the first is number 0. The error says what is not supported.
pub(super) fn decrypt(cipher: &str, key: &[u8], data: &mut [u8]) -> Result<(), String> {
    let unsupported = || format!("key slots encrypted by {cipher:?} are not supported");
    let mut words = cipher.splitn(3, '-');
    let (Some("aes"), Some(mode), Some(vector)) = (words.next(), words.next(), words.next()) else {
        return Err(unsupported());
    };
    let vector = Vector::named(vector, key).ok_or_else(unsupported)??;
    let sectors = data.chunks_exact_mut(SECTOR).enumerate();
    match mode {
        "xts" => {
            let (data_key, tweak_key) = key.split_at(key.len() / 2);
            let (aes, tweak) = (Aes::new(data_key)?, Aes::new(tweak_key)?);
            sectors.for_each(|(number, sector)| {
                xts(&aes, tweak.encrypt(vector.of(number as u64)), sector);
            });
        }
        "cbc" => {
            let aes = Aes::new(key)?;
            sectors.for_each(|(number, sector)| cbc(&aes, vector.of(number as u64), sector));
        }
        _ => return Err(unsupported()),
    }
    Ok(())
}

/// XTS (IEEE 1619), from the encrypted tweak on.
fn xts(aes: &Aes, tweak: [u8; BLOCK], sector: &mut [u8]) {
    let mut tweak = u128::from_le_bytes(tweak);
    for block in sector.as_chunks_mut::<BLOCK>().0 {
        let masked = (u128::from_le_bytes(*block) ^ tweak).to_le_bytes();
        *block = (u128::from_le_bytes(aes.decrypt(masked)) ^ tweak).to_le_bytes();
        // Times x in GF(2^128).
        let carry = tweak >> 127;
        tweak = (tweak << 1) ^ (carry * 0x87);
    }
}

fn cbc(aes: &Aes, vector: [u8; BLOCK], sector: &mut [u8]) {
    let mut before = u128::from_le_bytes(vector);
    for block in sector.as_chunks_mut::<BLOCK>().0 {
        let encrypted = u128::from_le_bytes(*block);
        *block = (u128::from_le_bytes(aes.decrypt(*block)) ^ before).to_le_bytes();
        before = encrypted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn xts_decrypts_the_vectors_of_ieee_1619() {
        // Vector 1: both keys, the sector's number and the plain text are zero.
        let mut sector = vec![0; SECTOR];
        let encrypted = bytes("917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e");
        sector[..32].copy_from_slice(&encrypted);
        decrypt("aes-xts-plain64", &[0; 32], &mut sector).unwrap();
        assert_eq!(sector[..32], [0; 32]);
    }

    #[test]
    fn cbc_decrypts_the_vector_of_nist_800_38a() {
        // F.2.1, with its vector of 000102...0f in place of that of a sector.
        let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
        let mut block = bytes("7649abac8119b246cee98e9b12e9197d");
        let vector: [u8; BLOCK] = std::array::from_fn(|at| at as u8);
        cbc(&Aes::new(&key).unwrap(), vector, &mut block);
        assert_eq!(block, bytes("6bc1bee22e409f96e93d7e117393172a"));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (cipher, key) in [
            ("serpent-xts-plain64", 32),
            ("aes-lrw-benbi", 32),
            ("aes-xts-random", 32),
            ("aes-cbc-essiv:md5", 32),
            ("aes", 32),
            ("", 0),
            ("aes-xts-plain64", 31),
            ("aes-cbc-plain", 0),
        ] {
            assert!(
                decrypt(cipher, &vec![0; key], &mut [0; SECTOR]).is_err(),
                "{cipher}"
            );
        }
    }
}
