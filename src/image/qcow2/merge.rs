//! Overlays on top of each other, merged into one new image with all that they hold. Only for overlays of
//! bivouac's own: version 3 with subclusters, nothing compressed, no snapshots.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{EmptyOverlay, Header, MAX_HEADER_AREA, l1_entry_span};
use crate::linux::bytes::Fields;

/// Bits 9 to 55 of an L1 or L2 entry: the offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit 62 of an L2 entry.
const COMPRESSED: u64 = 1 << 62;
/// Bit 63 of an L1 or L2 entry: the refcount is 1.
const COPIED: u64 = 1 << 63;
/// Bytes of an extended L2 entry: the entry and the bitmap of its subclusters.
const ENTRY: usize = 16;
/// Subclusters of a cluster: bits 0 to 31 of the bitmap say which are allocated, 32 to 63 which read as
/// zeros.
const SUBCLUSTERS: usize = 32;

/// One overlay, and its L1 table.
struct Source<'a> {
    file: &'a File,
    l1: Vec<u8>,
}

/// The new image while it is written: each cluster is used once, one after the other.
struct Target<'a> {
    file: &'a File,
    cluster: u64,
    clusters: u64,
}

/// Writes the merged overlays, `sources` from the top down, into `to`, an empty file. `empty` is the image
/// without content: its size, its geometry, which is that of the sources, and its backing file.
///
/// [`io::ErrorKind::InvalidFilename`] if the name of the backing file does not fit into a header.
pub fn merge(sources: &[&File], empty: EmptyOverlay<'_>, to: &File) -> io::Result<()> {
    empty.write_to(to)?;
    let mut head = vec![0; MAX_HEADER_AREA.min(to.metadata()?.len() as usize)];
    to.read_exact_at(&mut head, 0)?;
    if header(&head)?.backing.is_none() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    let opened = sources
        .iter()
        .map(|file| Source::open(file, empty.geometry.cluster_bits));
    let sources = opened.collect::<io::Result<Vec<_>>>()?;
    let cluster = 1 << empty.geometry.cluster_bits;
    let mut target = Target {
        file: to,
        cluster,
        clusters: to.metadata()?.len() / cluster,
    };
    let span = l1_entry_span(empty.geometry.cluster_bits, empty.geometry.extended_l2);
    for index in 0..empty.virtual_size.div_ceil(span) as usize {
        let tables = sources.iter().map(|source| source.l2(index, cluster));
        let tables = tables.collect::<io::Result<Vec<_>>>()?;
        if let Some(table) = merge_tables(&sources, &tables, &mut target)? {
            // 40 - 47: l1_table_offset.
            let at = head.be64(40) + index as u64 * 8;
            to.write_all_at(&(table | COPIED).to_be_bytes(), at)?;
        }
    }
    // 48 - 55: refcount_table_offset; 56 - 59: refcount_table_clusters.
    target.count(head.be64(48), u64::from(head.be32(56)))
}

fn header(head: &[u8]) -> io::Result<Header> {
    Header::parse(head).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

impl<'a> Source<'a> {
    fn open(file: &'a File, cluster_bits: u32) -> io::Result<Self> {
        let mut head = vec![0; MAX_HEADER_AREA.min(file.metadata()?.len() as usize)];
        file.read_exact_at(&mut head, 0)?;
        let parsed = header(&head)?;
        if !parsed.extended_l2 || parsed.cluster_bits != cluster_bits {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut l1 = vec![0; parsed.l1_entries as usize * 8];
        // 40 - 47: l1_table_offset.
        file.read_exact_at(&mut l1, head.be64(40))?;
        Ok(Self { file, l1 })
    }

    /// The L2 table of an L1 entry; empty if there is none.
    fn l2(&self, index: usize, cluster: u64) -> io::Result<Vec<u8>> {
        let offset = self.l1.be64(index * 8) & OFFSET;
        let mut table = Vec::new();
        if offset != 0 {
            table.resize(cluster as usize, 0);
            self.file.read_exact_at(&mut table, offset)?;
        }
        Ok(table)
    }
}

/// Merges the L2 tables of the sources and what they lead to. The offset of the new table; none if
/// nothing is allocated.
fn merge_tables(
    sources: &[Source<'_>],
    tables: &[Vec<u8>],
    target: &mut Target<'_>,
) -> io::Result<Option<u64>> {
    let length = tables.iter().map(Vec::len).max().unwrap_or(0);
    let mut merged = vec![0; length];
    for at in (0..length).step_by(ENTRY) {
        let entries = tables
            .iter()
            .map(|table| (table.be64(at), table.be64(at + 8)));
        let (entry, bitmap) = merge_cluster(sources, &entries.collect::<Vec<_>>(), target)?;
        merged[at..at + 8].copy_from_slice(&entry.to_be_bytes());
        merged[at + 8..at + ENTRY].copy_from_slice(&bitmap.to_be_bytes());
    }
    if merged.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let offset = target.next();
    target.file.write_all_at(&merged, offset)?;
    Ok(Some(offset))
}

/// Merges one cluster: of each subcluster, what the highest source has that holds it.
fn merge_cluster(
    sources: &[Source<'_>],
    entries: &[(u64, u64)],
    target: &mut Target<'_>,
) -> io::Result<(u64, u64)> {
    let (mut entry, mut bitmap) = (0, 0_u64);
    let subcluster = target.cluster / SUBCLUSTERS as u64;
    let mut data = vec![0; subcluster as usize];
    for at in 0..SUBCLUSTERS {
        let (here, zero) = (1_u64 << at, 1_u64 << (at + 32));
        let holds = |(_, entry): &(usize, &(u64, u64))| entry.1 & (here | zero) != 0;
        let Some((number, (offset, bits))) = entries.iter().enumerate().find(holds) else {
            continue;
        };
        if offset & COMPRESSED != 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if bits & zero != 0 {
            bitmap |= zero;
            continue;
        }
        if entry == 0 {
            entry = target.next() | COPIED;
        }
        bitmap |= here;
        let within = at as u64 * subcluster;
        let file = sources[number].file;
        file.read_exact_at(&mut data, (offset & OFFSET) + within)?;
        target.file.write_all_at(&data, (entry & OFFSET) + within)?;
    }
    Ok((entry, bitmap))
}

impl Target<'_> {
    /// The offset of a cluster that is not used yet.
    fn next(&mut self) -> u64 {
        self.clusters += 1;
        (self.clusters - 1) * self.cluster
    }

    /// Writes the refcounts, 1 for each cluster, with further blocks for them where the empty image has
    /// too few. `table` is the offset of the refcount table, which has so many clusters.
    fn count(mut self, table: u64, table_clusters: u64) -> io::Result<()> {
        let per_block = self.cluster / 2;
        let mut blocks = Vec::new();
        // A block for the refcounts is counted itself.
        while blocks.len() as u64 * per_block < self.clusters {
            let at = table + blocks.len() as u64 * 8;
            if at >= table + table_clusters * self.cluster {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut entry = [0; 8];
            self.file.read_exact_at(&mut entry, at)?;
            let mut block = u64::from_be_bytes(entry);
            if block == 0 {
                block = self.next();
                self.file.write_all_at(&block.to_be_bytes(), at)?;
            }
            blocks.push(block);
        }
        self.file.set_len(self.clusters * self.cluster)?;
        for (index, block) in blocks.into_iter().enumerate() {
            let first = index as u64 * per_block;
            let counted = (self.clusters - first).min(per_block);
            let counts = [0, 1].repeat(counted as usize);
            self.file.write_all_at(&counts, block)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
