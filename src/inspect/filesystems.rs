//! The filesystems that a survey found, with or without a system.

use std::collections::HashMap;

use crate::protocol::disks::{Content, Kind, Partition, Survey};

/// A block device with something on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    pub device: &'a str,
    pub bytes: u64,
    pub content: &'a Content,
}

/// The devices on which a filesystem is that another device stands for, each with that one: on an
/// image for both CD-ROMs and USB sticks, the disk and a partition of it hold the same filesystem,
/// and a btrfs may have several devices. Others of one UUID are copies, each a filesystem.
pub fn same(survey: &Survey) -> HashMap<&str, &str> {
    let hybrid = survey.disks.iter().flat_map(|disk| {
        let parts = disk.partitions.iter();
        let is_same = |part: &&Partition| match (&disk.content, &part.content) {
            (Some(whole), Some(part)) => {
                (whole.kind, &whole.uuid) == (part.kind, &part.uuid) && part.kind.is_filesystem()
            }
            _ => false,
        };
        let same = parts.filter(is_same);
        same.map(|part| (part.device.as_str(), disk.device.as_str()))
    });
    let pools = survey.pools.iter().flat_map(|pool| {
        let first = pool.first().map(String::as_str).unwrap_or_default();
        let others = pool.iter().skip(1);
        others.map(move |device| (device.as_str(), first))
    });
    hybrid.chain(pools).collect()
}

/// The content of disks, partitions and volumes, in that order, each filesystem once.
pub fn contents(survey: &Survey) -> Vec<Found<'_>> {
    let disks = survey.disks.iter().flat_map(|disk| {
        let whole = std::iter::once((&disk.device, disk.bytes, &disk.content));
        let parts = disk.partitions.iter();
        whole.chain(parts.map(|part| (&part.device, part.bytes, &part.content)))
    });
    let volumes = survey.volumes.iter();
    let volumes = volumes.map(|volume| (&volume.device, volume.bytes, &volume.content));
    let same = same(survey);
    disks
        .chain(volumes)
        .filter(|(device, ..)| !same.contains_key(device.as_str()))
        .filter_map(|(device, bytes, content)| {
            Some(Found {
                device,
                bytes,
                content: content.as_ref()?,
            })
        })
        .collect()
}

pub fn filesystems(survey: &Survey) -> Vec<Found<'_>> {
    let mut found = contents(survey);
    found.retain(|found| found.content.kind.is_filesystem());
    found
}

/// The filesystem to take for the root of an image without a system: its only one, or that of a CD,
/// whose own partitions only serve to boot it.
pub fn main_filesystem(survey: &Survey) -> Option<Found<'_>> {
    let found = filesystems(survey);
    let (first, others) = found.split_first()?;
    let disk = survey.disks.iter().find(|disk| disk.device == first.device);
    let is_part = |other: &Found<'_>| {
        let parts = disk.map(|disk| disk.partitions.iter());
        let mut parts = parts.into_iter().flatten();
        parts.any(|part| part.device == other.device)
    };
    let is_cd = first.content.kind == Kind::Iso9660 && others.iter().all(is_part);
    (others.is_empty() || is_cd).then_some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::disks::{Disk, Volume};

    fn content(kind: Kind, uuid: &str) -> Option<Content> {
        Some(Content {
            kind,
            uuid: Some(uuid.to_owned()),
            label: None,
            usage: None,
        })
    }

    fn disk(whole: Option<Content>, parts: Vec<Option<Content>>) -> Disk {
        let part = |(number, content)| Partition {
            number: number as u32 + 1,
            device: format!("/dev/sda{}", number + 1),
            start: 0,
            bytes: 2,
            kind: None,
            label: None,
            uuid: None,
            content,
        };
        Disk {
            device: "/dev/sda".to_owned(),
            bytes: 9,
            serial: None,
            table: None,
            content: whole,
            partitions: parts.into_iter().enumerate().map(part).collect(),
        }
    }

    fn survey(disk: Disk) -> Survey {
        Survey {
            disks: vec![disk],
            ..Survey::default()
        }
    }

    fn devices<'a>(found: &[Found<'a>]) -> Vec<&'a str> {
        found.iter().map(|found| found.device).collect()
    }

    #[test]
    fn swap_and_members_are_no_filesystems() {
        let ext4 = || content(Kind::Ext4, "a");
        let parts = vec![
            content(Kind::Swap, "s"),
            ext4(),
            None,
            content(Kind::Lvm, "l"),
        ];
        let mut all = survey(disk(None, parts));
        all.volumes.push(Volume {
            device: "/dev/mapper/vg-root".to_owned(),
            group: "vg".to_owned(),
            name: "root".to_owned(),
            bytes: 1,
            problem: None,
            content: content(Kind::Xfs, "x"),
        });
        assert_eq!(
            devices(&filesystems(&all)),
            ["/dev/sda2", "/dev/mapper/vg-root"]
        );
        assert_eq!(contents(&all).len(), 4);
        assert_eq!(main_filesystem(&all), None);
    }

    #[test]
    fn copies_are_filesystems_of_their_own_and_a_pool_is_one() {
        let btrfs = || content(Kind::Btrfs, "a");
        let mut two = survey(disk(None, vec![btrfs(), btrfs()]));
        assert_eq!(devices(&filesystems(&two)), ["/dev/sda1", "/dev/sda2"]);
        assert_eq!(main_filesystem(&two), None);
        two.pools = vec![vec!["/dev/sda1".to_owned(), "/dev/sda2".to_owned()]];
        assert_eq!(devices(&filesystems(&two)), ["/dev/sda1"]);
        assert_eq!(main_filesystem(&two).unwrap().device, "/dev/sda1");
        assert_eq!(same(&two)["/dev/sda2"], "/dev/sda1");
    }

    #[test]
    fn a_cd_with_partitions_is_a_cd() {
        let iso = || content(Kind::Iso9660, "i");
        let cd = survey(disk(iso(), vec![iso(), content(Kind::Vfat, "e")]));
        assert_eq!(devices(&filesystems(&cd)), ["/dev/sda", "/dev/sda2"]);
        assert_eq!(main_filesystem(&cd).unwrap().device, "/dev/sda");
        // Beside another disk it is one of two.
        let mut both = cd.clone();
        both.disks.push(Disk {
            device: "/dev/sdb".to_owned(),
            ..disk(content(Kind::Ext4, "x"), Vec::new())
        });
        assert_eq!(main_filesystem(&both), None);
    }
}
