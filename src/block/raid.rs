//! Superblocks of MD array members (<linux/raid/md_p.h>).

use super::device_reader::ReadAt;
use super::ids::lossy;
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
/// 0.90 in the last aligned 64 KiB.
pub fn member(device: &dyn ReadAt) -> Option<Member> {
    let size = device.size();
    let places = [
        Some((1, 0)),
        Some((2, 4096)),
        size.checked_sub(8192).map(|at| (0, at & !4095)),
    ];
    for (minor, at) in places.into_iter().flatten() {
        let block = &device.bytes_at(at, SIZE)[..];
        if block.len() == SIZE && block.le32(0) == MAGIC && block.le32(4) == 1 {
            return Some(Member {
                id: block.part(16, 16).to_vec(),
                version: (1, minor),
                label: lossy(block.part(32, 32)),
                level: block.le32(72).cast_signed(),
                preferred: 0,
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
    })
}
