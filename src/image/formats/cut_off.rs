//! Whether a file ends before the blocks that it refers to, as after a download that was
//! interrupted. QEMU opens such an image nevertheless, and what is missing reads as zeros.
//!
//! Where QEMU itself checks this (vhdx, vpc), `virtual_size` does.

use std::collections::BTreeSet;

use super::{FormatError, ReadAt, each_entry, read};
use crate::image::format::Format;
use crate::linux::bytes::Fields;

/// So many tables of the second level are read: those at the end of the file.
const LAST_TABLES: usize = 16;

/// Bits 9 to 55 of entries of qcow2, which have flags besides.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// A table whose entries lead to blocks, or to further tables.
struct Table {
    /// In bytes from the start of the file.
    offset: u64,
    entries: u64,
    entry: Entry,
    /// How many entries each table has that an entry leads to, and which.
    next: Option<(u64, Entry)>,
}

/// How an entry says where something is.
#[derive(Clone, Copy)]
enum Entry {
    /// 8 bytes, big-endian, with flags outside of this mask.
    Be64(u64),
    /// An entry of qcow2's second level, for clusters of 2 to this power.
    Qcow2(u32),
    /// The same with 8 more bytes, a bitmap of subclusters.
    Extended(u32),
    /// 8 bytes, little-endian.
    Le64,
    /// 4 bytes, little-endian, in units of so many bytes.
    Le32(u64),
}

impl Entry {
    /// The offset in the file, in bytes; small where there is nothing.
    fn target(self, bytes: &[u8]) -> u64 {
        match self {
            Self::Be64(mask) => bytes.be64(0) & mask,
            Self::Qcow2(bits) | Self::Extended(bits) => match bytes.be64(0) {
                // Compressed: the offset has 62 - (cluster_bits - 8) bits.
                entry if entry >> 62 & 1 == 1 => entry & (u64::MAX >> (bits.clamp(9, 21) - 6)),
                entry => entry & OFFSET,
            },
            Self::Le64 => bytes.le64(0),
            Self::Le32(unit) => u64::from(bytes.le32(0)).saturating_mul(unit),
        }
    }
}

/// Whether the image in `file`, whose header is accepted and which is `length` bytes long, refers to
/// something behind its end.
pub fn is_cut_off(format: Format, file: &(impl ReadAt + ?Sized), length: u64) -> bool {
    let head = read::<512>(file, 0, format);
    head.is_ok_and(|head| match format {
        Format::Vdi => vdi_is_cut_off(&head, length),
        format => (tables(format, &head).iter())
            .any(|table| table.is_cut_off(file, length).unwrap_or(true)),
    })
}

/// Blocks of 1 MiB follow each other. The last one has to start in the file.
fn vdi_is_cut_off(head: &[u8; 512], length: u64) -> bool {
    let [data, blocks] = [0x158, 0x184].map(|at| u64::from(head.le32(at)));
    blocks > 0 && data + (blocks - 1) * (1 << 20) >= length
}

/// The tables of the first level in an image with this header.
fn tables(format: Format, head: &[u8; 512]) -> Vec<Table> {
    let le = |at| u64::from(head.le32(at));
    let table = |offset, entries, entry, next| Table {
        offset,
        entries,
        entry,
        next,
    };
    match format {
        // docs/interop/qcow2.txt: the L1 table and the refcount table.
        Format::Qcow2 => {
            let bits = head.be32(20).clamp(9, 21);
            let refcounts = u64::from(head.be32(56)) << bits >> 3;
            // Bit 4 of the incompatible features of version 3.
            let is_extended = head.be32(4) == 3 && head.be64(72) & 1 << 4 != 0;
            let next = match is_extended {
                true => (1 << bits >> 4, Entry::Extended(bits)),
                false => (1 << bits >> 3, Entry::Qcow2(bits)),
            };
            let l1 = u64::from(head.be32(36));
            vec![
                table(head.be64(40), l1, Entry::Be64(OFFSET), Some(next)),
                table(head.be64(48), refcounts, Entry::Be64(!0x1ff), None),
            ]
        }
        Format::Qed => {
            let entries = le(8) * le(4) / 8;
            vec![table(
                head.le64(40),
                entries,
                Entry::Le64,
                Some((entries, Entry::Le64)),
            )]
        }
        // Without the extension, entries are offsets in sectors, else in clusters.
        Format::Parallels => {
            let is_extended = head.starts_with(b"WithouFreSpacExt");
            let unit = if is_extended { le(28) * 512 } else { 512 };
            vec![table(64, le(32), Entry::Le32(unit), None)]
        }
        // A stream has its directory in front of its footer.
        Format::Vmdk if head.le64(56) != u64::MAX => {
            let grains = (le(44) * head.le64(20)).max(1);
            let (offset, entries) = (head.le64(56), head.le64(12).div_ceil(grains));
            let sectors = Entry::Le32(512);
            vec![table(
                offset.saturating_mul(512),
                entries,
                sectors,
                Some((le(44), sectors)),
            )]
        }
        _ => Vec::new(),
    }
}

impl Table {
    /// Whether something that the table leads to starts behind the end of the file.
    fn is_cut_off(&self, file: &(impl ReadAt + ?Sized), length: u64) -> Result<bool, FormatError> {
        let (mut is_beyond, mut last) = (false, BTreeSet::new());
        self.each(file, |target| {
            is_beyond |= target >= length;
            // Less is a mark, such as 1 for zeros.
            if target >= 512 && last.insert(target) && last.len() > LAST_TABLES {
                last.pop_first();
            }
        })?;
        if let Some((entries, entry)) = self.next.filter(|_| !is_beyond) {
            for offset in last {
                let next = None;
                let below = Self {
                    offset,
                    entries,
                    entry,
                    next,
                };
                below.each(file, |target| is_beyond |= target >= length)?;
            }
        }
        Ok(is_beyond)
    }

    /// Calls `each` with what each entry leads to.
    fn each(
        &self,
        file: &(impl ReadAt + ?Sized),
        mut each: impl FnMut(u64),
    ) -> Result<(), FormatError> {
        let (entry, at, count) = (self.entry, self.offset, self.entries);
        // The format only matters for the text of an error.
        let format = Format::Raw;
        match entry {
            Entry::Le32(_) => each_entry(file, at, count, format, |_, e: [u8; 4]| {
                each(entry.target(&e))
            }),
            Entry::Extended(_) => each_entry(file, at, count, format, |_, e: [u8; 16]| {
                each(entry.target(&e))
            }),
            _ => each_entry(file, at, count, format, |_, e: [u8; 8]| {
                each(entry.target(&e))
            }),
        }
    }
}
