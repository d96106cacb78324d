//! Superblocks of MD array members (<linux/raid/md_p.h>).

use super::device_reader::ReadAt;
use super::ids::lossy;
use super::tables::Entry;
use crate::linux::bytes::Fields;

/// `MD_SB_MAGIC`.
const MAGIC: u32 = 0xa92b_4efc;
const SIZE: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The UUID of the array.
    pub id: Vec<u8>,
    /// Major and minor version. The minor number of version 1 says where the superblock is.
    pub version: (i32, i32),
    /// `HOST:NAME` as stored; empty for version 0.90.
    pub label: String,
    /// The RAID level; -1 is linear.
    pub level: i32,
    /// The preferred minor number, which only version 0.90 has.
    preferred: u32,
    /// Where the superblock is, in bytes.
    at: u64,
}

impl Member {
    /// The array's UUID as mdadm(8) and udev write it: four groups of eight hexadecimal digits.
    pub fn uuid(&self) -> String {
        let words = self.id.chunks(4).map(|word| {
            let mut word = word.to_vec();
            // Version 0.90 has numbers, little endian here; version 1 has bytes.
            if self.version.0 == 0 {
                word.reverse();
            }
            word.iter().map(|byte| format!("{byte:02x}")).collect()
        });
        words.collect::<Vec<String>>().join(":")
    }

    /// Whether a partition table on the same device is a part of the array: its superblock is at the
    /// end, and none of the partitions reaches it.
    pub fn holds_table(&self, partitions: &[Entry]) -> bool {
        self.is_at_end() && !self.is_of_partition(partitions)
    }

    /// Whether it is the last partition's superblock, seen through the whole disk.
    pub fn is_of_partition(&self, partitions: &[Entry]) -> bool {
        let reaches = |part: &Entry| part.start <= self.at && part.end() > Some(self.at);
        self.is_at_end() && partitions.iter().any(reaches)
    }

    fn is_at_end(&self) -> bool {
        matches!(self.version, (1, 0) | (0, _))
    }

    /// The array's name without the host, reduced to characters that are safe in a file name.
    pub fn name(&self) -> String {
        if self.version.0 == 0 {
            return self.preferred.to_string();
        }
        let name = self.label.rsplit(':').next().unwrap_or_default();
        let safe = |c: &char| c.is_ascii_alphanumeric() || "_-".contains(*c);
        let name: String = name.chars().filter(safe).collect();
        if name.is_empty() { "0".into() } else { name }
    }
}

/// Reads the superblock of an array member.
///
/// Version 1.1 is at the start, 1.2 at 4 KiB, 1.0 in the last 8 KiB at a multiple of 4 KiB, and
/// 0.90 in the last aligned 64 KiB. Version 1 says where it is itself: elsewhere it is that of a
/// partition, or was left behind by a former use.
pub fn member(device: &dyn ReadAt) -> Option<Member> {
    let size = device.size();
    let places = [
        Some((1, 0)),
        Some((2, 4096)),
        size.checked_sub(8192).map(|at| (0, at & !4095)),
    ];
    for (minor, at) in places.into_iter().flatten() {
        let block = &device.bytes_at(at, SIZE)[..];
        if block.len() == SIZE
            && block.le32(0) == MAGIC
            && block.le32(4) == 1
            && block.le64(144) == at / 512
        {
            return Some(Member {
                id: block.part(16, 16).to_vec(),
                version: (1, minor),
                label: lossy(block.part(32, 32)),
                level: block.le32(72).cast_signed(),
                preferred: 0,
                at,
            });
        }
    }
    let at = (size & !0xffff).checked_sub(0x1_0000)?;
    let block = &device.bytes_at(at, SIZE)[..];
    (block.le32(0) == MAGIC && block.le32(4) == 0).then(|| Member {
        id: [block.part(20, 4), block.part(52, 12)].concat(),
        version: (0, 90),
        label: String::new(),
        level: block.le32(28).cast_signed(),
        preferred: block.le32(44) & 0xff,
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    /// A device of 256 KiB with a superblock of version 1 at `at`, which says that it is at `said`.
    fn device(at: usize, said: usize) -> Vec<u8> {
        let mut device = vec![0; 256 * KIB];
        device[at..at + 8].copy_from_slice(b"\xfc\x4e\x2b\xa9\x01\0\0\0");
        device[at + 144..at + 152].copy_from_slice(&(said as u64 / 512).to_le_bytes());
        device
    }

    #[test]
    fn a_superblock_is_where_it_says_that_it_is() {
        let version = |at, said| member(&&device(at, said)[..]).map(|found| found.version);
        assert_eq!(version(0, 0), Some((1, 1)));
        assert_eq!(version(4 * KIB, 4 * KIB), Some((1, 2)));
        assert_eq!(version(248 * KIB, 248 * KIB), Some((1, 0)));
        assert_eq!(version(248 * KIB, 184 * KIB), None, "of a partition");
        assert_eq!(version(0, 8 * KIB), None);
    }

    #[test]
    fn a_table_is_on_the_array_unless_the_member_is_one_of_its_partitions() {
        let part = |start: usize, end: usize| Entry {
            start: (start * KIB) as u64,
            bytes: ((end - start) * KIB) as u64,
            ..Entry::default()
        };
        let old = |at: usize| {
            let mut device = vec![0; 256 * KIB];
            device[at..at + 4].copy_from_slice(b"\xfc\x4e\x2b\xa9");
            member(&&device[..]).unwrap()
        };
        for end in [
            old(192 * KIB),
            member(&&device(248 * KIB, 248 * KIB)[..]).unwrap(),
        ] {
            let (inner, outer) = ([part(64, 180)], [part(64, 180), part(180, 256)]);
            assert!(end.holds_table(&inner) && !end.is_of_partition(&inner));
            assert!(!end.holds_table(&outer) && end.is_of_partition(&outer));
        }
        // What was partitioned anew may have an older superblock before its first partition.
        let start = member(&&device(4 * KIB, 4 * KIB)[..]).unwrap();
        assert!(!start.holds_table(&[part(64, 256)]) && !start.is_of_partition(&[part(4, 256)]));
    }
}
