//! Deriving a key from a passphrase, at the cost that the header names. The header is untrusted, so the
//! cost has a limit.

use argon2::{Algorithm, Argon2, Params, Version};

use super::digest::Hash;

/// The most memory, in KiB: what cryptsetup takes at most (CRYPT_PBKDF_MAX_MEM, luks2.h).
const MOST_MEMORY: u32 = 4 << 20;
/// The most memory times passes, in KiB. cryptsetup aims at two seconds, in which a fast processor goes
/// over some 8 GiB; an hour of it is out of the question.
const MOST_WORK: u64 = 512 << 20;
/// The most iterations of PBKDF2: some minutes.
const MOST_ITERATIONS: u32 = 200_000_000;

#[derive(Clone, Debug)]
pub(super) enum Kdf {
    Pbkdf2 {
        hash: Hash,
        iterations: u32,
        salt: Vec<u8>,
    },
    Argon2 {
        algorithm: Algorithm,
        /// Passes over the memory, which is in KiB, by so many lanes.
        passes: u32,
        memory: u32,
        lanes: u32,
        salt: Vec<u8>,
    },
}

impl Kdf {
    /// In bytes.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Self::Pbkdf2 { .. } => 0,
            Self::Argon2 { memory, .. } => u64::from(*memory) << 10,
        }
    }

    /// A key of `length` bytes.
    pub(super) fn derive(&self, passphrase: &[u8], length: usize) -> Result<Vec<u8>, String> {
        let mut key = vec![0; length];
        match self {
            Self::Pbkdf2 {
                hash,
                iterations,
                salt,
            } => {
                if !(1..=MOST_ITERATIONS).contains(iterations) {
                    return Err(format!(
                        "{iterations} iterations of PBKDF2 are not supported"
                    ));
                }
                hash.pbkdf2(passphrase, salt, *iterations, &mut key);
            }
            Self::Argon2 {
                algorithm,
                passes,
                memory,
                lanes,
                salt,
            } => {
                let work = u64::from(*memory) * u64::from(*passes);
                if *memory > MOST_MEMORY || work > MOST_WORK {
                    return Err(format!(
                        "{passes} passes of Argon2 over {memory} KiB are not supported"
                    ));
                }
                let parameters = Params::new(*memory, *passes, *lanes, Some(length))
                    .map_err(|error| format!("impossible parameters of Argon2: {error}"))?;
                Argon2::new(*algorithm, Version::V0x13, parameters)
                    .hash_password_into(passphrase, salt, &mut key)
                    .map_err(|error| format!("Argon2: {error}"))?;
            }
        }
        Ok(key)
    }
}
