//! The filesystem of a directory: its kind, size and free space.

use std::io;
use std::path::Path;

use nix::sys::statfs::{FsType, Statfs, statfs};

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Space {
    /// Its type as mount(8) names it, else its magic number in hexadecimal.
    pub kind: String,
    /// Whether files on it take memory.
    pub memory: bool,
    /// In bytes.
    pub size: u64,
    pub free: u64,
}

impl Space {
    pub fn of(directory: &Path) -> io::Result<Self> {
        let found = statfs(directory)?;
        let unit = u64::try_from(found.block_size()).unwrap_or(0);
        let (kind, memory) = kind(&found);
        Ok(Self {
            kind,
            memory,
            size: found.blocks().saturating_mul(unit),
            free: found.blocks_available().saturating_mul(unit),
        })
    }
}

/// The type by its magic number (statfs(2)), and whether it is memory.
fn kind(found: &Statfs) -> (String, bool) {
    const KINDS: [(i64, &str); 16] = [
        (0x0102_1994, "tmpfs"),
        (0x8584_58f6, "ramfs"),
        (0xef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0x2fc1_2fc1, "zfs"),
        (0xf2f5_2010, "f2fs"),
        (0xca45_1a4e, "bcachefs"),
        (0x794c_7630, "overlay"),
        (0x6969, "nfs"),
        (0xff53_4d42, "cifs"),
        (0xfe53_4d42, "smb2"),
        (0x6573_5546, "fuse"),
        (0x0102_1997, "9p"),
        (0x4d44, "vfat"),
        (0x2011_bab0, "exfat"),
    ];
    let FsType(magic) = found.filesystem_type();
    let known = KINDS.iter().find(|(number, _)| *number == magic);
    let name = known.map_or_else(|| format!("{magic:#x}"), |(_, name)| (*name).to_owned());
    let memory = matches!(name.as_str(), "tmpfs" | "ramfs");
    (name, memory)
}
