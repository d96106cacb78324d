//! The hashes that a header names.

use sha1::Sha1;
use sha2::digest::{Digest, FixedOutputReset};
use sha2::{Sha224, Sha256, Sha384, Sha512};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Ripemd160,
}

impl Hash {
    pub(super) fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "sha1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "ripemd160" => Self::Ripemd160,
            other => return Err(format!("the hash {other:?} is not supported")),
        })
    }

    /// The length of a digest in bytes.
    pub(super) fn length(self) -> usize {
        match self {
            Self::Sha1 | Self::Ripemd160 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of `parts`, one after the other.
    pub(super) fn of(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha1 => digest::<Sha1>(parts),
            Self::Sha224 => digest::<Sha224>(parts),
            Self::Sha256 => digest::<Sha256>(parts),
            Self::Sha384 => digest::<Sha384>(parts),
            Self::Sha512 => digest::<Sha512>(parts),
            Self::Ripemd160 => digest::<ripemd::Ripemd160>(parts),
        }
    }

    /// PBKDF2 with HMAC (RFC 8018).
    pub(super) fn pbkdf2(self, passphrase: &[u8], salt: &[u8], iterations: u32, key: &mut [u8]) {
        use pbkdf2::pbkdf2_hmac as derive;
        match self {
            Self::Sha1 => derive::<Sha1>(passphrase, salt, iterations, key),
            Self::Sha224 => derive::<Sha224>(passphrase, salt, iterations, key),
            Self::Sha256 => derive::<Sha256>(passphrase, salt, iterations, key),
            Self::Sha384 => derive::<Sha384>(passphrase, salt, iterations, key),
            Self::Sha512 => derive::<Sha512>(passphrase, salt, iterations, key),
            Self::Ripemd160 => derive::<ripemd::Ripemd160>(passphrase, salt, iterations, key),
        }
    }
}

fn digest<D: Digest + FixedOutputReset>(parts: &[&[u8]]) -> Vec<u8> {
    let mut digest = D::new();
    for part in parts {
        Digest::update(&mut digest, part);
    }
    digest.finalize().to_vec()
}
