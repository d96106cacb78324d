//! The filesystem that a directory is on: its kind, its size, and what is free. Only asks.

use std::io;
use std::path::Path;

use nix::sys::statfs::{FsType, Statfs, statfs};

/// What is known about the filesystem.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Space {
    /// Its kind in mount(8)'s words, or its number in hexadecimal.
    pub kind: String,
    /// Whether it is memory, so that what a guest writes takes memory.
    pub memory: bool,
    /// Its size in bytes.
    pub size: u64,
    /// What is free for this user, in bytes.
    pub free: u64,
}

impl Space {
    /// Of the filesystem that `directory` is on, now.
    ///
    /// # Errors
    /// What `statfs` says.
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

/// Kinds by their magic numbers (statfs(2)).
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
