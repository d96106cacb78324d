//! LUKS, version 1 and 2: the header of an encrypted volume, and the key of its data by a passphrase.
//!
//! Sources: "LUKS On-Disk Format Specification" 1.2.3 and "LUKS2 On-Disk Format Specification" 1.1.3. The
//! layout of the areas is decided by the header alone, and every size and cost in it has a limit: see
//! `slot` and `kdf`.

mod cipher;
mod digest;
mod header;
mod kdf;
mod slot;
mod splitter;
mod version1;
mod version2;

pub use header::Header;
use kdf::Kdf;
pub use slot::{Area, Slot};
