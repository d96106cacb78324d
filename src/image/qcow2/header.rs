//! The header of a qcow2 image, parsed, with each rule beside its field.
//!
//! It never allocates by a size that the header states: what it keeps is bounded by the format's
//! own limits (a name of 1023 bytes, a format of 15, 64 feature names).

use super::HeaderError;
use super::extensions::Extensions;
use super::{EXTENDED_L2, EXTERNAL_DATA_FILE, MAGIC, MAX_BACKING_NAME, MAX_L1_BYTES};
use crate::linux::bytes::Fields;

/// Incompatible feature bit 0: refcounts may be stale. Fine for reading.
const DIRTY: u64 = 1 << 0;
/// Incompatible feature bit 1: "any data structure may be corrupt".
const CORRUPT: u64 = 1 << 1;
/// Incompatible feature bit 3: compressed clusters are not zlib's; byte 104 says which.
pub(super) const COMPRESSION_TYPE: u64 = 1 << 3;
/// The incompatible features that a reader which does not write can accept.
const KNOWN: u64 = DIRTY | CORRUPT | EXTERNAL_DATA_FILE | COMPRESSION_TYPE | EXTENDED_L2;

/// Length of a version 2 header, and the least for version 3.
const V2_LENGTH: usize = 72;
const V3_LENGTH: usize = 104;
/// QCOW_MAX_REFTABLE_SIZE and QCOW_MAX_SNAPSHOTS of block/qcow2.h.
const MAX_REFTABLE_BYTES: u64 = 8 << 20;
const MAX_SNAPSHOTS: u32 = 65536;
/// BDRV_MAX_LENGTH of QEMU: the largest disk or file, 2^63 rounded down to its 1 GiB alignment.
const MAX_LENGTH: u64 = (i64::MAX as u64) & !((1 << 30) - 1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// The cluster size is 2 to this: 9 to 21.
    pub cluster_bits: u32,
    /// Size of the guest's disk in bytes, never 0.
    pub virtual_size: u64,
    pub backing: Option<Backing>,
    /// The image was not closed properly; only a writer needs to care.
    pub dirty: bool,
    /// QEMU once found the image's tables damaged.
    pub corrupt: bool,
    pub extended_l2: bool,
    /// The entries of its L1 table, which QEMU reads into memory; 8 bytes each.
    pub l1_entries: u32,
}

/// The layer below, as a header records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    /// The name, 1 to 1023 bytes without NUL, not interpreted in any way.
    pub name: Vec<u8>,
    /// The format's name, at most 15 bytes; if `None`, QEMU would guess.
    pub format: Option<Vec<u8>>,
}

/// The fixed fields, by offset; absent bytes are an error.
struct HeaderFields<'a>(&'a [u8]);

impl HeaderFields<'_> {
    fn u32(&self, at: usize) -> Result<u32, HeaderError> {
        self.0.get_be32(at).ok_or(HeaderError::Truncated)
    }

    fn u64(&self, at: usize) -> Result<u64, HeaderError> {
        self.0.get_be64(at).ok_or(HeaderError::Truncated)
    }
}

impl Header {
    /// Reads the header at the start of `bytes`, the first bytes of an image.
    ///
    /// 4 KiB are enough for nearly every image. [`HeaderError::Truncated`] means that the
    /// header is longer: the caller repeats with up to [`super::MAX_HEADER_AREA`] bytes, and if
    /// the error is still the same, the file is cut off.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let fields = HeaderFields(bytes);
        // 0 - 3: magic.
        if bytes.get(..4) != Some(&MAGIC[..]) {
            return Err(HeaderError::NotQcow2);
        }
        // 4 - 7: version.
        let version = fields.u32(4)?;
        if !(2..=3).contains(&version) {
            return Err(HeaderError::Version(version));
        }
        // 20 - 23: cluster_bits, "must not be less than 9"; QEMU's limit is 21.
        let cluster_bits = fields.u32(20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(HeaderError::ClusterBits(cluster_bits));
        }
        let cluster_size = 1_usize << cluster_bits;
        let (incompatible, length) = match version {
            // "For version 2, the header is exactly 72 bytes in length", without feature bits.
            2 => (0, V2_LENGTH),
            // 72 - 79: incompatible_features.
            _ => (fields.u64(72)?, Self::length(&fields, cluster_size)?),
        };

        let backing_name = Self::backing_name(&fields, length, cluster_size)?;
        // "If the image has a backing file then the backing file name should be stored in the
        // remaining space between the end of the header extension area and the end of the
        // first cluster": so extensions end where the name begins.
        let extensions_end = match fields.u64(8)? {
            0 => cluster_size,
            offset => usize::try_from(offset).map_or(cluster_size, |end| end.min(cluster_size)),
        };
        let extensions = Extensions::parse(bytes, length, extensions_end)?;

        Self::check_features(incompatible, &extensions)?;
        Self::check_compression(bytes, length, incompatible)?;
        let extended_l2 = incompatible & EXTENDED_L2 != 0;
        if extended_l2 && cluster_bits < 14 {
            return Err(HeaderError::SubclusterSize(cluster_bits));
        }
        // 32 - 35: crypt_method.
        match fields.u32(32)? {
            0 => {}
            method => return Err(HeaderError::Encrypted(method)),
        }
        let virtual_size = Self::disk_size(&fields, cluster_bits, extended_l2)?;
        Self::check_tables(&fields, version, cluster_bits)?;

        Ok(Self {
            version,
            cluster_bits,
            virtual_size,
            backing: backing_name.map(|name| Backing {
                name,
                format: extensions.backing_format,
            }),
            dirty: incompatible & DIRTY != 0,
            corrupt: incompatible & CORRUPT != 0,
            extended_l2,
            l1_entries: fields.u32(36)?,
        })
    }

    /// 100 - 103: header_length of version 3.
    fn length(fields: &HeaderFields<'_>, cluster_size: usize) -> Result<usize, HeaderError> {
        let length = fields.u32(100)?;
        let fits = (V3_LENGTH..=cluster_size).contains(&(length as usize));
        match fits && length % 8 == 0 {
            true => Ok(length as usize),
            false => Err(HeaderError::HeaderLength(length)),
        }
    }

    /// 8 - 15: backing_file_offset; 16 - 19: backing_file_size. The name is between the end of
    /// the header and that of the first cluster.
    fn backing_name(
        fields: &HeaderFields<'_>,
        header_length: usize,
        cluster_size: usize,
    ) -> Result<Option<Vec<u8>>, HeaderError> {
        let (offset, size) = (fields.u64(8)?, fields.u32(16)?);
        match (offset, size) {
            // "0 if the image doesn't have a backing file."
            (0, 0) => return Ok(None),
            (0, _) | (_, 0) => return Err(HeaderError::BackingNameEmpty(offset)),
            _ => {}
        }
        if size as usize > MAX_BACKING_NAME {
            return Err(HeaderError::BackingNameTooLong(size));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(size as usize);
        if start < header_length || end > cluster_size {
            return Err(HeaderError::BackingNameOutside(offset));
        }
        let name = fields.0.get(start..end).ok_or(HeaderError::Truncated)?;
        if name.contains(&0) {
            return Err(HeaderError::BackingNameNul);
        }
        Ok(Some(name.to_vec()))
    }

    /// "An implementation must fail to open an image if an unknown bit is set."
    fn check_features(incompatible: u64, extensions: &Extensions) -> Result<(), HeaderError> {
        if incompatible & EXTERNAL_DATA_FILE != 0 {
            return Err(HeaderError::ExternalDataFile {
                name: extensions.data_file.clone(),
            });
        }
        let unknown = incompatible & !KNOWN;
        if unknown == 0 {
            return Ok(());
        }
        let names = (0..64_u8).filter(|bit| unknown >> bit & 1 == 1).map(|bit| {
            let mut named = extensions.incompatible_names.iter();
            match named.find(|(known, _)| *known == bit) {
                Some((_, name)) => format!("{name:?} (incompatible bit {bit})"),
                None => format!("incompatible bit {bit}"),
            }
        });
        Err(HeaderError::UnknownFeatures(names.collect()))
    }

    /// 104: compression_type, "0: zlib, 1: zstd", if the header is long enough to have it. The
    /// feature bit must be set for all but zlib, and only then.
    fn check_compression(bytes: &[u8], length: usize, features: u64) -> Result<(), HeaderError> {
        let compression = match length {
            112.. => *bytes.get(104).ok_or(HeaderError::Truncated)?,
            _ => 0,
        };
        if compression > 1 || (compression == 1) != (features & COMPRESSION_TYPE != 0) {
            return Err(HeaderError::CompressionType(compression));
        }
        Ok(())
    }

    /// The virtual size, and the L1 table that must span it.
    fn disk_size(
        fields: &HeaderFields<'_>,
        cluster_bits: u32,
        extended_l2: bool,
    ) -> Result<u64, HeaderError> {
        // 24 - 31: size.
        let size = fields.u64(24)?;
        if size == 0 {
            return Err(HeaderError::NoDisk);
        }
        if size > MAX_LENGTH {
            return Err(HeaderError::DiskTooLarge(size));
        }
        // 36 - 39: l1_size.
        let entries = fields.u32(36)?;
        let needed = size.div_ceil(super::l1_entry_span(cluster_bits, extended_l2));
        if u64::from(entries) < needed || u64::from(entries) * 8 > MAX_L1_BYTES {
            return Err(HeaderError::L1Size { entries, needed });
        }
        Ok(size)
    }

    /// The tables that QEMU would allocate by what the header states.
    fn check_tables(
        fields: &HeaderFields<'_>,
        version: u32,
        cluster_bits: u32,
    ) -> Result<(), HeaderError> {
        let cluster_size = 1_u64 << cluster_bits;
        // 40 - 47: l1_table_offset, "must be aligned to a cluster boundary"; 48 - 55:
        // refcount_table_offset.
        // 36 - 39: l1_size; 56 - 59: refcount_table_clusters.
        let clusters = fields.u32(56)?;
        let mut tables = vec![
            ("L1 table", fields.u64(40)?, u64::from(fields.u32(36)?) * 8),
            (
                "refcount table",
                fields.u64(48)?,
                u64::from(clusters) * cluster_size,
            ),
        ];
        // 60 - 63: nb_snapshots.
        let snapshots = fields.u32(60)?;
        if snapshots > MAX_SNAPSHOTS {
            return Err(HeaderError::Snapshots(snapshots));
        }
        // 64 - 71: snapshots_offset. QEMU checks its alignment even without snapshots.
        let snapshot_table = fields.u64(64)?;
        if snapshots > 0 || snapshot_table != 0 {
            // The fixed part of an entry has 40 bytes.
            tables.push(("snapshot table", snapshot_table, u64::from(snapshots) * 40));
        }
        for (table, offset, length) in tables {
            let is_beyond = offset
                .checked_add(length)
                .is_none_or(|end| end > MAX_LENGTH);
            if offset % cluster_size != 0 || offset == 0 || is_beyond {
                return Err(HeaderError::TableOffset { table, offset });
            }
        }
        if clusters == 0 || u64::from(clusters) * cluster_size > MAX_REFTABLE_BYTES {
            return Err(HeaderError::RefcountTableSize(clusters));
        }
        // 96 - 99: refcount_order, "may not exceed 6".
        match version {
            3 => match fields.u32(96)? {
                0..=6 => Ok(()),
                order => Err(HeaderError::RefcountOrder(order)),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
