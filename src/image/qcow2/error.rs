//! What can be wrong with a qcow2 header, each in the words of a message's second half.
//!
//! The texts name no file: who knows the file puts its path in front.

use crate::text::escape::{Quoted, as_path};

/// What is wrong with a qcow2 header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The magic is missing.
    #[error("it does not start with a qcow2 header")]
    NotQcow2,
    /// The header goes on behind the bytes that were given.
    #[error("the file ends before its qcow2 header does")]
    Truncated,
    /// Neither version 2 nor 3.
    #[error("it has qcow version {0}; only versions 2 and 3 are read")]
    Version(u32),
    /// header_length out of its bounds.
    #[error("its header_length of {0} is not a multiple of 8 between 104 and the cluster size")]
    HeaderLength(u32),
    /// cluster_bits out of its bounds.
    #[error("its cluster_bits is {0}; 9 to 21 is allowed")]
    ClusterBits(u32),
    /// Subclusters would be smaller than a sector.
    #[error("it has extended L2 entries, which need cluster_bits of at least 14, but {0}")]
    SubclusterSize(u32),
    /// refcount_order out of its bounds.
    #[error("its refcount_order is {0}; at most 6 is allowed")]
    RefcountOrder(u32),
    /// A disk of no size.
    #[error("its virtual size is 0: there is no disk in it")]
    NoDisk,
    /// A disk larger than QEMU's limit.
    #[error("its virtual size of {0} bytes is larger than any disk can be")]
    DiskTooLarge(u64),
    /// An L1 table that does not span the disk, or that is larger than QEMU reads.
    #[error(
        "its L1 table has {entries} entries; the disk needs {needed}, and 4194304 is the limit"
    )]
    L1Size {
        /// Entries that the header states.
        entries: u32,
        /// Entries that the virtual size needs.
        needed: u64,
    },
    /// A table that does not start at a cluster.
    #[error("its {table} is at offset {offset}, which is not the start of a cluster")]
    TableOffset {
        /// Which table.
        table: &'static str,
        /// Where the header says that it is.
        offset: u64,
    },
    /// No refcount table, or one larger than 8 MiB.
    #[error("its refcount table of {0} clusters is missing or over the limit of 8 MiB")]
    RefcountTableSize(u32),
    /// More snapshots than QEMU reads.
    #[error("it has {0} internal snapshots; 65536 is the limit")]
    Snapshots(u32),
    /// Encrypted inside.
    #[error("it is encrypted ({})", crypt_method(*.0))]
    Encrypted(u32),
    /// Incompatible feature bit 2.
    #[error("its data is in another file{}, which QEMU would open without asking", named(.name.as_deref()))]
    ExternalDataFile {
        /// That file's name, where it is recorded.
        name: Option<Vec<u8>>,
    },
    /// An incompatible feature that is not known here.
    #[error("it needs features that bivouac does not know: {}", .0.join(", "))]
    UnknownFeatures(Vec<String>),
    /// A compression type that is not known, or that the feature bit contradicts.
    #[error("its compression type {0} is unknown, or contradicts incompatible bit 3")]
    CompressionType(u8),
    /// An extension that ends behind the header area.
    #[error("its header extension {kind:#010x} of {length} bytes is longer than the header")]
    ExtensionTooLong {
        /// The extension's type.
        kind: u32,
        /// Its stated length in bytes.
        length: usize,
    },
    /// The same extension twice: readers differ in which they believe.
    #[error("its header extension {kind:#010x} appears twice")]
    DuplicateExtension {
        /// The extension's type.
        kind: u32,
    },
    /// A backing format's name of 16 bytes or more.
    #[error("its backing format's name has {length} bytes; at most 15 are allowed")]
    FormatNameTooLong {
        /// The name's length in bytes.
        length: usize,
    },
    /// A backing file's name of more than 1023 bytes.
    #[error("its backing file's name has {0} bytes; at most 1023 are allowed")]
    BackingNameTooLong(u32),
    /// A name that does not lie between the header and the first cluster's end.
    #[error(
        "its backing file's name is at offset {0}, outside the first cluster or inside the header"
    )]
    BackingNameOutside(u64),
    /// A NUL inside the name: readers differ in where they stop.
    #[error("its backing file's name has a NUL byte inside")]
    BackingNameNul,
    /// An offset with a length of 0, or the other way round.
    #[error("its backing file's name has {}", if *.0 == 0 { "a length but no offset" } else { "an offset but no length" })]
    BackingNameEmpty(u64),
}

/// Names a crypt_method.
fn crypt_method(method: u32) -> String {
    match method {
        1 => "qcow2 AES".to_owned(),
        2 => "LUKS".to_owned(),
        other => format!("unknown method {other}"),
    }
}

/// ` ("name")`, or nothing.
fn named(name: Option<&[u8]>) -> String {
    name.map(|name| format!(" ({})", Quoted(as_path(name))))
        .unwrap_or_default()
}
