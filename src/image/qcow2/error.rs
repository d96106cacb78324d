//! What can be wrong with a qcow2 header, and what to do about it.
//!
//! The texts name no file: they are the second half of a message that does.

use crate::image::hints::{convert, with_suffix};
use crate::text::escape::{Quoted, as_path, shell_word};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("it does not start with a qcow2 header")]
    NotQcow2,
    /// The header is longer than the bytes that were given.
    #[error("the file ends before its qcow2 header does")]
    Truncated,
    #[error("it has qcow version {0}; only versions 2 and 3 are supported")]
    Version(u32),
    #[error("its header_length of {0} is not a multiple of 8 between 104 and the cluster size")]
    HeaderLength(u32),
    #[error("its cluster_bits is {0}; 9 to 21 is allowed")]
    ClusterBits(u32),
    /// Subclusters would be smaller than a sector.
    #[error("it has extended L2 entries, which need cluster_bits of at least 14, but {0}")]
    SubclusterSize(u32),
    #[error("its refcount_order is {0}; at most 6 is allowed")]
    RefcountOrder(u32),
    #[error("its virtual size is 0: there is no disk in it")]
    NoDisk,
    #[error("its virtual size of {0} bytes is larger than any disk can be")]
    DiskTooLarge(u64),
    #[error(
        "its L1 table has {entries} entries; the disk needs {needed}, and 4194304 is the limit"
    )]
    L1Size { entries: u32, needed: u64 },
    #[error(
        "its {table} is at offset {offset}, which is not the start of a cluster that a file can have"
    )]
    TableOffset { table: &'static str, offset: u64 },
    #[error("its refcount table of {0} clusters is missing or over the limit of 8 MiB")]
    RefcountTableSize(u32),
    #[error("it has {0} internal snapshots; 65536 is the limit")]
    Snapshots(u32),
    #[error("it is encrypted ({})", crypt_method(*.0))]
    Encrypted(u32),
    #[error("its data is in another file{}, which QEMU would open without asking", named(.name.as_deref()))]
    ExternalDataFile { name: Option<Vec<u8>> },
    #[error("it needs features that bivouac does not know: {}", .0.join(", "))]
    UnknownFeatures(Vec<String>),
    #[error("its compression type {0} is unknown, or contradicts incompatible bit 3")]
    CompressionType(u8),
    #[error("its header extension {kind:#010x} of {length} bytes is longer than the header")]
    ExtensionTooLong { kind: u32, length: usize },
    /// Readers differ in which of the two counts.
    #[error("its header extension {kind:#010x} appears twice")]
    DuplicateExtension { kind: u32 },
    #[error("its backing format's name has {length} bytes; at most 15 are allowed")]
    FormatNameTooLong { length: usize },
    #[error("its backing file's name has {0} bytes; at most 1023 are allowed")]
    BackingNameTooLong(u32),
    #[error(
        "its backing file's name is at offset {0}, outside the first cluster or inside the header"
    )]
    BackingNameOutside(u64),
    /// Readers differ in where the name ends.
    #[error("its backing file's name has a NUL byte inside")]
    BackingNameNul,
    /// The offset of the name.
    #[error("its backing file's name has {}", if *.0 == 0 { "a length but no offset" } else { "an offset but no length" })]
    BackingNameEmpty(u64),
}

impl HeaderError {
    /// A command that helps with the image at `path`.
    pub(in crate::image) fn hint(&self, path: &Path) -> String {
        let flat = "-flat.qcow2";
        match self {
            Self::Version(1) => convert("qcow", path, flat, ""),
            Self::ExternalDataFile { .. } => {
                let comment = "if you trust it: QEMU opens the file that it names";
                convert("qcow2", path, flat, comment)
            }
            Self::Encrypted(_) => {
                let options = "driver=qcow2,encrypt.key-secret=key,file.filename=";
                // In QEMU's option strings a comma is doubled.
                let parts: Vec<_> = path
                    .as_os_str()
                    .as_bytes()
                    .split(|&byte| byte == b',')
                    .collect();
                let mut options = OsString::from(options);
                options.push(as_path(&parts.join(&b",,"[..])));
                format!(
                    "qemu-img convert --object secret,id=key,file=PASSWORD_FILE --image-opts {} -O qcow2 {}",
                    shell_word(options),
                    shell_word(with_suffix(path, flat))
                )
            }
            Self::UnknownFeatures(_) | Self::Version(_) | Self::CompressionType(_) => {
                convert("qcow2", path, flat, "with a newer QEMU")
            }
            Self::NoDisk => format!(
                "qemu-img resize -f qcow2 {} 10G  # if you want a blank disk",
                shell_word(path)
            ),
            _ => format!(
                "qemu-img check -f qcow2 {}  # if QEMU cannot read it either, download the image again",
                shell_word(path)
            ),
        }
    }
}

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
