//! The survey of a machine's disks, and how to mount a system that is on them. Plain data: the
//! agent decides.
//!
//! Labels and names are untrusted. The agent replaces what is not UTF-8; control characters
//! remain.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::warning::Warning;
use crate::text::escape::Untrusted;

/// The appliance's directory of kernel modules.
pub const MODULES: &str = "/modules";
/// Its table of contents: one line a module, `SET FILE [rare]`, in load order within a set. The set
/// `base` is for devices; a filesystem's set is named after its kind.
pub const MODULES_LIST: &str = "/modules/list";

/// Everything that was found on the disks of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// In the kernel's order.
    pub disks: Vec<Disk>,
    /// LVM volumes and MD arrays.
    pub volumes: Vec<Volume>,
    /// Every root filesystem of an operating system.
    pub roots: Vec<Root>,
    /// The devices of each btrfs that has several; the first stands for all of it.
    #[serde(default)]
    pub pools: Vec<Vec<String>>,
    pub warnings: Vec<Warning>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Device node in the guest, such as `/dev/vda`.
    pub device: String,
    pub bytes: u64,
    /// The serial number that QEMU gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    pub table: Option<Table>,
    /// What is on the unpartitioned disk.
    pub content: Option<Content>,
    pub partitions: Vec<Partition>,
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub kind: TableKind,
    /// The disk's GUID, or the eight hexadecimal digits of an MBR; empty if the format has none.
    pub id: String,
    /// Which copy or sector size was believed, if it is not the usual one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<String>,
}

/// The format of a partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    Gpt,
    Mbr,
    Sun,
    Sgi,
    Mac,
    Bsd,
    Amiga,
    Atari,
    Aix,
    Pc98,
}

impl TableKind {
    /// The name to show.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt => "GPT",
            Self::Mbr => "MBR",
            Self::Sun => "Sun label",
            Self::Sgi => "SGI label",
            Self::Mac => "Apple partition map",
            Self::Bsd => "BSD label",
            Self::Amiga => "Amiga partition table",
            Self::Atari => "Atari partition table",
            Self::Aix => "AIX label",
            Self::Pc98 => "PC-98 partition table",
        }
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// From 1.
    pub number: u32,
    /// Device node in the guest.
    pub device: String,
    /// Offset on the disk, in bytes.
    pub start: u64,
    pub bytes: u64,
    /// The type: a GUID in lower case, or `0x83`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// GPT only.
    pub label: Option<String>,
    /// As in `PARTUUID=`.
    pub uuid: Option<String>,
    pub content: Option<Content>,
}

/// A block device that the agent assembled from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Device node in the guest, such as `/dev/mapper/vg-root`.
    pub device: String,
    /// The LVM volume group, `md` for an array, or `part` for a partition inside of another.
    pub group: String,
    /// The name within the group.
    pub name: String,
    pub bytes: u64,
    /// Why it could not be assembled; the node does not exist then.
    pub problem: Option<String>,
    pub content: Option<Content>,
}

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    #[serde(rename = "type")]
    pub kind: Kind,
    /// As in `UUID=`.
    pub uuid: Option<String>,
    /// As in `LABEL=`.
    pub label: Option<String>,
    /// What the host found out by mounting it. The agent never sends it.
    #[serde(flatten, skip_deserializing)]
    pub usage: Option<Usage>,
}

/// How full a filesystem is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Bytes that the filesystem has for files.
    pub size: Option<u64>,
    /// Bytes that are used of them.
    pub used: Option<u64>,
    /// Bytes that an ordinary user can still write.
    pub available: Option<u64>,
    /// Why it could not be mounted.
    pub error: Option<String>,
}

/// Defines [`Kind`] by a line a kind: the variant, the name to show, and the role.
macro_rules! kinds {
    ($($variant:ident $name:literal $role:ident,)*) => {
        /// What can be on a block device. The names are those of util-linux where it is short.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name to show.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The kernel's driver of that name, as a list.
            pub fn driver(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &[$name],)*
                }
            }

            /// What it is good for.
            pub fn role(self) -> Role {
                match self {
                    $(Self::$variant => Role::$role,)*
                }
            }
        }
    };
}

/// What a kind of content is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It can be mounted, given a driver.
    Filesystem,
    Swap,
    /// It is part of a volume, or holds one.
    Member,
}

#[rustfmt::skip]
kinds! {
    Ext2 "ext2" Filesystem,             Ext3 "ext3" Filesystem,
    Ext4 "ext4" Filesystem,             Xfs "xfs" Filesystem,
    Btrfs "btrfs" Filesystem,           Vfat "vfat" Filesystem,
    Exfat "exfat" Filesystem,           Ntfs "ntfs" Filesystem,
    Iso9660 "iso9660" Filesystem,       Udf "udf" Filesystem,
    Squashfs "squashfs" Filesystem,     Erofs "erofs" Filesystem,
    F2fs "f2fs" Filesystem,             Jfs "jfs" Filesystem,
    Nilfs2 "nilfs2" Filesystem,         Reiserfs "reiserfs" Filesystem,
    Reiser4 "reiser4" Filesystem,       Ufs "ufs" Filesystem,
    Hfs "hfs" Filesystem,               Hfsplus "hfsplus" Filesystem,
    Apfs "apfs" Filesystem,             Refs "refs" Filesystem,
    Vmfs "vmfs" Filesystem,             Ocfs2 "ocfs2" Filesystem,
    Gfs2 "gfs2" Filesystem,             Minix "minix" Filesystem,
    Cramfs "cramfs" Filesystem,         Romfs "romfs" Filesystem,
    Bfs "bfs" Filesystem,               Befs "befs" Filesystem,
    Hpfs "hpfs" Filesystem,             Vxfs "vxfs" Filesystem,
    Ubifs "ubifs" Filesystem,           Zonefs "zonefs" Filesystem,
    Nss "nss" Filesystem,               Bcachefs "bcachefs" Filesystem,
    Sysv "sysv" Filesystem,             Affs "affs" Filesystem,
    Efs "efs" Filesystem,               Qnx6 "qnx6" Filesystem,
    Swap "swap" Swap,
    // Swap that holds a hibernated system.
    Swsuspend "swsuspend" Swap,
    // Encrypted by LUKS, version 1 or 2, or by BitLocker: reported, never opened.
    Luks "luks" Member,                 Bitlocker "bitlocker" Member,
    // A physical volume of LVM, and a member of an MD array.
    Lvm "lvm" Member,                   Md "md" Member,
    FirmwareRaid "fwraid" Member,       Zfs "zfs" Member,
    Verity "verity" Member,             Integrity "integrity" Member,
    Bcache "bcache" Member,             Stratis "stratis" Member,
    Vdo "vdo" Member,                   Bluestore "bluestore" Member,
    Lvm1 "lvm1" Member,                 Drbd "drbd" Member,
    OracleAsm "oracleasm" Member,       VmfsMember "vmfs_volume" Member,
    Ubi "ubi" Member,                   ExternalJournal "jbd" Member,
    SnapshotCow "snapshot_cow" Member,
}

impl Kind {
    /// Whether it can be mounted, given the driver.
    pub fn is_filesystem(self) -> bool {
        self.role() == Role::Filesystem
    }

    /// Where there is a driver for it, if not in every distribution's kernel.
    pub fn driver_source(self) -> Option<&'static str> {
        Some(match self {
            Self::Ntfs => {
                "Debian 13's kernel has one, ntfs3; in a guest, the package ntfs-3g reads it"
            }
            Self::Apfs => "no Linux release has one; Debian's apfs-dkms builds one",
            Self::Bcachefs => "Linux 6.7 to 6.17 can have one",
            Self::Reiserfs => "Linux up to 6.12 can have one",
            Self::Reiser4 | Self::Refs | Self::Nss => "no Linux release has one",
            Self::Vmfs => "no Linux release has one; the package vmfs6-tools reads it",
            Self::Ubifs => "it works on flash memory only, not on disks",
            Self::Zonefs => "it works on zoned disks only",
            _ => return None,
        })
    }
}

/// A root filesystem of an operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The device node that it is on.
    pub device: String,
    /// Its filesystem.
    pub kind: Kind,
    /// The path of the btrfs subvolume; `None` is the default one.
    pub subvolume: Option<String>,
    /// From os-release, or an older file.
    pub os: System,
    /// What to mount, the root first, each after what it is mounted on.
    pub mounts: Vec<Mount>,
    /// What its fstab and units ask for and `mounts` does not have.
    pub left_out: Vec<SkippedMount>,
}

impl Root {
    /// A single filesystem, without an operating system.
    pub fn alone(device: &str, kind: Kind) -> Self {
        Self {
            device: device.to_owned(),
            kind,
            subvolume: None,
            os: System::default(),
            mounts: vec![Mount::new(device, "/", kind)],
            left_out: Vec::new(),
        }
    }
}

/// The identification of an operating system, in os-release's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `PRETTY_NAME`, or the first line of `redhat-release` or the like.
    pub name: Option<String>,
    /// `ID`, such as `debian`.
    pub id: Option<String>,
    /// `VERSION_ID`.
    pub version: Option<String>,
}

/// One filesystem to mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// A device node in the guest; for a bind mount, a path below the root; `tmpfs` for a root that
    /// is empty and in memory.
    pub source: String,
    /// Path from the image's root.
    pub target: String,
    /// The filesystem; `None` for a bind mount, or in memory.
    pub kind: Option<Kind>,
    /// As in fstab, without those that only concern init.
    pub options: Vec<String>,
    /// The directory of the filesystem that is the image's root; `None` for its top.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub directory: Option<String>,
}

impl Mount {
    /// A filesystem as a whole, without options.
    pub fn new(source: &str, target: &str, kind: Kind) -> Self {
        Self {
            source: source.to_owned(),
            target: target.to_owned(),
            kind: Some(kind),
            options: Vec::new(),
            directory: None,
        }
    }

    /// A directory of the root, mounted at another place as well.
    pub fn bind(source: String, target: &str) -> Self {
        Self {
            source,
            target: target.to_owned(),
            kind: None,
            options: Vec::new(),
            directory: None,
        }
    }

    /// An empty root in memory.
    pub fn in_memory() -> Self {
        Self::bind("tmpfs".to_owned(), "/")
    }

    pub fn is_in_memory(&self) -> bool {
        self.kind.is_none() && self.target == "/"
    }
}

/// A filesystem that the image lists and that is not mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedMount {
    /// The first field of fstab, or what a unit has.
    pub source: String,
    /// Where it would be.
    pub target: String,
    /// Why, such as `swap`.
    pub reason: String,
    /// Whether its files are missing: they are on a disk, and a running system has them.
    pub missing: bool,
}

impl Display for SkippedMount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [source, target, reason] = [&self.source, &self.target, &self.reason];
        let [source, target, reason] = [source, target, reason].map(|text| Untrusted(text));
        write!(f, "{source} on {target}: {reason}")
    }
}
