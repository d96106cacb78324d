//! The qcow2 format, versions 2 and 3, as far as a launcher needs it: reading the header of an
//! image ([`Header`]) and a few bytes of the guest's disk ([`clusters`]), and writing the metadata of a
//! new overlay ([`EmptyOverlay`]) and all that several overlays hold ([`merge`]).
//!
//! Facts are from QEMU's docs/interop/qcow2.txt; limits from block/qcow2.c and block/qcow2.h.

pub(crate) mod clusters;
mod empty;
mod error;
mod extensions;
mod header;
mod merge;

use crate::linux::bytes::Fields;

pub use empty::{EmptyOverlay, Geometry};
pub(crate) use error::HeaderError;
pub use header::{Backing, Header};
pub(crate) use merge::merge;

/// "QFI\xfb", the first four bytes of every version.
const MAGIC: [u8; 4] = *b"QFI\xfb";

/// The longest backing file name ("Must not be longer than 1023 bytes").
const MAX_BACKING_NAME: usize = 1023;

/// The largest L1 table that QEMU reads (QCOW_MAX_L1_SIZE).
const MAX_L1_BYTES: u64 = 32 << 20;

/// No header area is larger: it ends with the first cluster, which has at most 2 MiB.
pub(crate) const MAX_HEADER_AREA: usize = 1 << 21;

/// Incompatible feature bit 2: the guest's data is in another file.
const EXTERNAL_DATA_FILE: u64 = 1 << 2;
/// Incompatible feature bit 4: L2 entries of 16 bytes, with 32 subclusters each.
const EXTENDED_L2: u64 = 1 << 4;

/// Whether `head` is the start of an image in the format's first version, which QEMU calls `qcow`.
pub(crate) fn is_version_1(head: &[u8]) -> bool {
    head.starts_with(&MAGIC) && head.be32(4) == 1
}

/// How many bytes of guest disk one L1 entry spans.
///
/// An L2 table fills one cluster; its entries are 8 bytes, or 16 with extended L2.
const fn l1_entry_span(cluster_bits: u32, extended_l2: bool) -> u64 {
    let entry_bits = if extended_l2 { 4 } else { 3 };
    1 << (2 * cluster_bits - entry_bits)
}
