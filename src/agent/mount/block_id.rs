//! A block device with its names, and which device a name in an image means. Pure.

use crate::block::fstab::unescaped;
use crate::block::partition_types::{PartitionRole, role};
use crate::protocol::disks::{Content, Kind};

/// A block device with every name that an fstab may use for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockId {
    /// Its node in this system.
    pub(crate) device: String,
    pub(crate) kind: Kind,
    pub(crate) uuid: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) part_uuid: Option<String>,
    pub(crate) part_label: Option<String>,
    /// The number of a partition.
    pub(crate) partition: Option<u32>,
    /// A disk without partitions.
    pub(crate) is_disk: bool,
    /// The disk of a partition, and its type.
    pub(crate) disk: Option<String>,
    pub(crate) part_kind: Option<String>,
    /// Paths that the image may use, such as `/dev/sda1` or `/dev/vg/root`.
    pub(crate) paths: Vec<String>,
}

impl BlockId {
    /// A device that is not a partition.
    pub(crate) fn new(device: &str, content: &Content, paths: Vec<String>) -> Self {
        Self {
            device: device.to_owned(),
            kind: content.kind,
            uuid: content.uuid.clone(),
            label: content.label.clone(),
            part_uuid: None,
            part_label: None,
            partition: None,
            is_disk: false,
            disk: None,
            part_kind: None,
            paths,
        }
    }

    /// Whether it is neither a disk nor a partition.
    pub(crate) fn is_volume(&self) -> bool {
        self.partition.is_none() && !self.is_disk
    }

    /// What it is for, by the type of the partition.
    pub(crate) fn role(&self) -> Option<PartitionRole> {
        role(self.part_kind.as_deref()?)
    }
}

/// The tags of fstab(5), and where udev has links for them.
const TAGS: [(&str, &str); 4] = [
    ("UUID=", "/dev/disk/by-uuid/"),
    ("LABEL=", "/dev/disk/by-label/"),
    ("PARTUUID=", "/dev/disk/by-partuuid/"),
    ("PARTLABEL=", "/dev/disk/by-partlabel/"),
];

/// The device that `source` names in the image whose root is on the device `root`.
pub(crate) fn find<'a>(source: &str, root: &str, known: &'a [BlockId]) -> Option<&'a BlockId> {
    for (sort, (tag, directory)) in TAGS.into_iter().enumerate() {
        let value = source
            .strip_prefix(tag)
            .map(str::to_owned)
            .or_else(|| source.strip_prefix(directory).map(udev_decoded));
        let Some(value) = value else { continue };
        return known.iter().find(|device| {
            let own = [
                &device.uuid,
                &device.label,
                &device.part_uuid,
                &device.part_label,
            ][sort];
            // Labels are compared exactly, hexadecimal digits in either case.
            own.as_deref().is_some_and(|own| match sort {
                0 | 2 => own.eq_ignore_ascii_case(&value),
                _ => own == value,
            })
        });
    }
    // udev's name of the hardware (mount(8)).
    let source = match source.strip_prefix("ID=") {
        Some(id) => &format!("/dev/disk/by-id/{id}"),
        None => source,
    };
    let mut devices = known.iter();
    devices
        .find(|device| device.paths.iter().any(|path| path == source))
        .or_else(|| by_hardware(source, root, known))
}

/// A link that udev or a cloud's rules name after a bus, a serial number or the order of the disks,
/// which are others here: by-path, by-id, by-diskseq, by-loop-ref, azure. The device is still known
/// if only one partition has its number or, for a whole disk, if only one has no partitions.
///
/// The root is not meant: its disk was found, and the link of a disk that is missing here would
/// else lead to it. A btrfs is: it has subvolumes to mount.
fn by_hardware<'a>(source: &str, root: &str, known: &'a [BlockId]) -> Option<&'a BlockId> {
    let name = source.strip_prefix("/dev/disk/")?;
    let (kind, _) = name.split_once('/')?;
    // Volumes have all of their names.
    if name.contains("/dm-") || name.contains("/md-") || name.contains("/lvm-") {
        return None;
    }
    let number = match name.rsplit_once("-part") {
        Some((_, number)) => Some(number.parse().ok()?),
        None => None,
    };
    if number.is_none() && !kind.starts_with("by-") {
        return None;
    }
    let mut found = known.iter().filter(|device| match number {
        Some(_) => device.partition == number,
        None => device.partition.is_none() && device.is_disk,
    });
    let first = found.next()?;
    let is_meant = first.device != root || first.kind == Kind::Btrfs;
    (is_meant && found.next().is_none()).then_some(first)
}

/// Decodes udev's escapes, such as `\x20` for a space.
fn udev_decoded(name: &str) -> String {
    unescaped(name, |digits| {
        let digits = std::str::from_utf8(digits.strip_prefix(b"x")?).ok()?;
        u8::from_str_radix(digits, 16).ok()
    })
}
