//! The metadata of a new, empty qcow2 overlay, written without a `qemu-img` process.
//!
//! Version 3: a header, a refcount table, the refcount blocks it needs, and an L1 table of
//! zeroes, which is a hole in the file. Only the given file is written.

use super::extensions::BACKING_FORMAT;
use super::{EXTENDED_L2, MAGIC, MAX_BACKING_NAME, MAX_L1_BYTES, l1_entry_span};
use crate::image::format::Format;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A header up to and with the compression type, as QEMU has written it since 5.1.
const HEADER_LENGTH: usize = 112;
/// Refcounts of 16 bits: refcount_order 4, the default.
const REFCOUNT_BYTES: u64 = 2;

/// The parameters of a qcow2 file that trade space for speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The cluster size is 2 to this: 9 to 21.
    pub cluster_bits: u32,
    /// L2 entries with 32 subclusters: less copied for a small first write to a cluster.
    /// Needs QEMU 5.2 and cluster_bits of at least 14.
    pub extended_l2: bool,
}

impl Default for Geometry {
    /// QEMU's own defaults: clusters of 64 KiB without subclusters.
    fn default() -> Self {
        Self {
            cluster_bits: 16,
            extended_l2: false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct EmptyOverlay<'a> {
    /// Size of the guest's disk in bytes, rounded up to 512 when written.
    pub virtual_size: u64,
    /// The top layer's absolute path. If it does not fit into a header (1023 bytes, or the
    /// first cluster), no name is recorded; QEMU is given the backing node explicitly anyway.
    pub backing_file: &'a [u8],
    pub backing_format: Format,
    pub geometry: Geometry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    #[error(
        "qcow2 clusters of 2^{0} bytes are not allowed (2^9 to 2^21; from 2^14 with extended L2)"
    )]
    ClusterBits(u32),
    #[error("an overlay needs a disk of at least 512 bytes")]
    NoDisk,
    /// The L1 table would be larger than QEMU reads.
    #[error("a disk of {size} bytes is too large for qcow2 clusters of 2^{cluster_bits} bytes")]
    DiskTooLarge { size: u64, cluster_bits: u32 },
}

/// Where each table is, in clusters; the header is cluster 0, and the L1 table comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    disk: u64,
    cluster_size: u64,
    table_clusters: u64,
    blocks: u64,
    l1_entries: u64,
    l1_clusters: u64,
}

impl Layout {
    fn of(size: u64, geometry: Geometry) -> Result<Self, GeometryError> {
        let Geometry {
            cluster_bits,
            extended_l2,
        } = geometry;
        let least = if extended_l2 { 14 } else { 9 };
        if !(least..=21).contains(&cluster_bits) {
            return Err(GeometryError::ClusterBits(cluster_bits));
        }
        let too_large = GeometryError::DiskTooLarge { size, cluster_bits };
        let disk = size.checked_next_multiple_of(512).ok_or(too_large)?;
        if disk == 0 {
            return Err(GeometryError::NoDisk);
        }
        let l1_entries = disk.div_ceil(l1_entry_span(cluster_bits, extended_l2));
        if l1_entries * 8 > MAX_L1_BYTES || i64::try_from(disk).is_err() {
            return Err(too_large);
        }
        let cluster_size = 1 << cluster_bits;
        let l1_clusters = (l1_entries * 8).div_ceil(cluster_size);
        // The refcounts count themselves too: grow until all clusters are counted.
        let (mut table_clusters, mut blocks) = (1, 1);
        loop {
            let clusters = 1 + table_clusters + blocks + l1_clusters;
            let wanted_blocks = (clusters * REFCOUNT_BYTES).div_ceil(cluster_size);
            let wanted_table = (wanted_blocks * 8).div_ceil(cluster_size);
            if wanted_blocks <= blocks && wanted_table <= table_clusters {
                return Ok(Self {
                    disk,
                    cluster_size,
                    table_clusters,
                    blocks,
                    l1_entries,
                    l1_clusters,
                });
            }
            (table_clusters, blocks) =
                (wanted_table.max(table_clusters), wanted_blocks.max(blocks));
        }
    }

    fn clusters(&self) -> u64 {
        1 + self.table_clusters + self.blocks + self.l1_clusters
    }

    fn l1_offset(&self) -> u64 {
        (1 + self.table_clusters + self.blocks) * self.cluster_size
    }

    fn blocks_offset(&self) -> u64 {
        (1 + self.table_clusters) * self.cluster_size
    }
}

impl EmptyOverlay<'_> {
    /// Writes the overlay into `file`, which must be empty, and sets the file's length.
    ///
    /// An invalid geometry is [`io::ErrorKind::InvalidInput`] with a [`GeometryError`].
    pub fn write_to(&self, file: &File) -> io::Result<()> {
        let layout = Layout::of(self.virtual_size, self.geometry)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        file.set_len(layout.clusters() * layout.cluster_size)?;

        // 1. The refcount table: the offset of each refcount block.
        let table: Vec<u8> = (0..layout.blocks)
            .flat_map(|block| (layout.blocks_offset() + block * layout.cluster_size).to_be_bytes())
            .collect();
        file.write_all_at(&table, layout.cluster_size)?;

        // 2. The refcount blocks, one after the other: a count of 1 for each cluster.
        let counts: Vec<u8> = (0..layout.clusters())
            .flat_map(|_| 1_u16.to_be_bytes())
            .collect();
        file.write_all_at(&counts, layout.blocks_offset())?;

        // 3. The L1 table is all zeroes: nothing is allocated, so it stays a hole.

        // 4. The header comes last: until now the file is not an image.
        file.write_all_at(&self.header(&layout), 0)
    }

    fn header(&self, layout: &Layout) -> Vec<u8> {
        let name = self.backing_file;
        let format = self.backing_format.as_str().as_bytes();
        let format_padded = format.len().next_multiple_of(8);
        // After the header: the format extension, the end marker, the name.
        let name_offset = HEADER_LENGTH + 8 + format_padded + 8;
        let has_name = !name.is_empty()
            && name.len() <= MAX_BACKING_NAME
            && (name_offset + name.len()) as u64 <= layout.cluster_size;

        let incompatible = u64::from(self.geometry.extended_l2) * EXTENDED_L2;
        let mut header = Vec::with_capacity(name_offset + name.len());
        header.extend(MAGIC);
        header.extend(3_u32.to_be_bytes()); // version
        header.extend(if has_name { name_offset as u64 } else { 0 }.to_be_bytes());
        header.extend(if has_name { name.len() as u32 } else { 0 }.to_be_bytes());
        header.extend(self.geometry.cluster_bits.to_be_bytes());
        header.extend(layout.disk.to_be_bytes());
        header.extend(0_u32.to_be_bytes()); // crypt_method
        header.extend((layout.l1_entries as u32).to_be_bytes());
        header.extend(layout.l1_offset().to_be_bytes());
        header.extend(layout.cluster_size.to_be_bytes()); // refcount_table_offset
        header.extend((layout.table_clusters as u32).to_be_bytes());
        header.extend(0_u32.to_be_bytes()); // nb_snapshots
        header.extend(0_u64.to_be_bytes()); // snapshots_offset
        header.extend(incompatible.to_be_bytes());
        header.extend(0_u64.to_be_bytes()); // compatible_features
        header.extend(0_u64.to_be_bytes()); // autoclear_features
        header.extend(4_u32.to_be_bytes()); // refcount_order
        header.extend((HEADER_LENGTH as u32).to_be_bytes());
        header.extend(0_u64.to_be_bytes()); // compression_type (zlib) and its padding
        if has_name {
            header.extend(BACKING_FORMAT.to_be_bytes());
            header.extend((format.len() as u32).to_be_bytes());
            header.extend(format);
            header.resize(HEADER_LENGTH + 8 + format_padded, 0);
            header.extend(0_u64.to_be_bytes()); // end of the extensions
            header.extend(name);
        }
        header
    }
}
