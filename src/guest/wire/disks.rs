//! The survey of a machine's disks, and the plan of mounting a system that is on them: what
//! host and agent both know of disks. Plain data; deciding is the agent's.
//!
//! Everything that an image holds is untrusted: labels and names are text that the agent made
//! valid UTF-8 (what was not is replaced), still with any control character that was in it.

use serde::{Deserialize, Serialize};

/// The appliance's directory of kernel modules.
pub const MODULES: &str = "/modules";
/// What is in it: one line a module, `GROUP FILE`, in load order within a group. The group
/// `base` is what talks with the host; a filesystem's group bears its kind's name.
pub const MODULES_LIST: &str = "/modules/list";

/// Everything that was found on the disks of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// In the order in which the kernel found them.
    pub disks: Vec<Disk>,
    /// What is made of partitions or disks: LVM volumes and MD arrays.
    pub volumes: Vec<Volume>,
    /// Every root filesystem of an operating system.
    pub roots: Vec<Root>,
    /// What could not be read or mounted, one sentence each.
    pub warnings: Vec<String>,
}

impl Survey {
    /// Every filesystem, each with its device, in the order of the disks; those of volumes last.
    pub fn filesystems(&self) -> Vec<(&str, &Content)> {
        let disks = self.disks.iter().flat_map(|disk| {
            let whole = (disk.partitions.is_empty()).then_some((&*disk.device, &disk.content));
            let partitions = (disk.partitions.iter()).map(|part| (&*part.device, &part.content));
            whole.into_iter().chain(partitions)
        });
        let volumes = (self.volumes.iter()).map(|volume| (&*volume.device, &volume.content));
        let all = disks.chain(volumes);
        all.filter_map(|(device, content)| Some((device, content.as_ref()?)))
            .filter(|(_, content)| content.kind.is_filesystem())
            .collect()
    }
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its node in the guest, such as `/dev/vda`.
    pub device: String,
    /// Its size.
    pub bytes: u64,
    /// The serial number that it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its partition table.
    pub table: Option<Table>,
    /// What is on the disk as a whole, beside or instead of partitions.
    pub content: Option<Content>,
    /// Its partitions by number.
    pub partitions: Vec<Partition>,
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Which sort.
    pub kind: TableKind,
    /// The disk's GUID, or the eight hexadecimal digits of an MBR.
    pub id: String,
}

/// The sorts of partition tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// GUID partition table.
    Gpt,
    /// Master boot record.
    Mbr,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Its node.
    pub device: String,
    /// Where it begins on its disk, in bytes.
    pub start: u64,
    /// Its size.
    pub bytes: u64,
    /// Its type: a GUID in lower case, or `0x83`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its name; GPT only.
    pub label: Option<String>,
    /// What `PARTUUID=` names.
    pub uuid: Option<String>,
    /// What is on it.
    pub content: Option<Content>,
}

/// A block device that the agent made of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its node, such as `/dev/mapper/vg-root`.
    pub device: String,
    /// The LVM group, or `md` for an array.
    pub group: String,
    /// Its name there.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Why there is no such node after all.
    pub problem: Option<String>,
    /// What is on it.
    pub content: Option<Content>,
}

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The sort.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// As `UUID=` names it.
    pub uuid: Option<String>,
    /// As `LABEL=` names it.
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

/// What can be on a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "each is the name of a filesystem")]
pub enum Kind {
    Ext2,
    Ext3,
    Ext4,
    Xfs,
    Btrfs,
    Vfat,
    Exfat,
    Ntfs,
    Iso9660,
    Udf,
    Squashfs,
    Erofs,
    F2fs,
    Swap,
    /// Encrypted by LUKS, version 1 or 2: said, never opened.
    Luks,
    /// A physical volume of LVM.
    Lvm,
    /// A member of an MD array.
    Md,
}

impl Kind {
    /// Its name, as it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Vfat => "vfat",
            Self::Exfat => "exfat",
            Self::Ntfs => "ntfs",
            Self::Iso9660 => "iso9660",
            Self::Udf => "udf",
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::F2fs => "f2fs",
            Self::Swap => "swap",
            Self::Luks => "luks",
            Self::Lvm => "lvm",
            Self::Md => "md",
        }
    }

    /// Whether it can be mounted, where the kernel has its driver.
    pub fn is_filesystem(self) -> bool {
        !matches!(self, Self::Swap | Self::Luks | Self::Lvm | Self::Md)
    }
}

/// A root filesystem of an operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The node that it is on.
    pub device: String,
    /// The filesystem.
    pub kind: Kind,
    /// The btrfs subvolume, by its path from the top; `None` is the default one.
    pub subvolume: Option<String>,
    /// What os-release says.
    pub os: System,
    /// What to mount for it, the root first, each after what it is mounted on.
    pub mounts: Vec<Mount>,
    /// What fstab asks for and the plan leaves out.
    pub left_out: Vec<SkippedMount>,
}

impl Root {
    /// A filesystem without an operating system, alone.
    pub fn alone(device: &str, kind: Kind) -> Self {
        Self {
            device: device.to_owned(),
            kind,
            subvolume: None,
            os: System::default(),
            mounts: vec![Mount {
                source: device.to_owned(),
                target: "/".to_owned(),
                kind: Some(kind),
                options: Vec::new(),
            }],
            left_out: Vec::new(),
        }
    }
}

/// What an operating system says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `PRETTY_NAME`, or the first line of `redhat-release` or the like.
    pub name: Option<String>,
    /// `ID`, such as `debian`.
    pub id: Option<String>,
    /// `VERSION_ID`.
    pub version: Option<String>,
}

/// One mount of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// A node in the guest; for a bind mount, a path below the root.
    pub source: String,
    /// Where, from the image's root: `/` first.
    pub target: String,
    /// The filesystem; `None` for a bind mount.
    pub kind: Option<Kind>,
    /// As in fstab, less those that mean something to init alone.
    pub options: Vec<String>,
}

/// A line of fstab that is not in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedMount {
    /// Its first field.
    pub source: String,
    /// Its second.
    pub target: String,
    /// Why, such as `swap`.
    pub reason: String,
}
