//! The filesystems that a survey found, with or without a system.

use std::collections::HashSet;

use crate::protocol::disks::{Content, Kind, Survey};

/// A block device with something on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    pub device: &'a str,
    pub bytes: u64,
    pub content: &'a Content,
}

/// The content of disks, partitions and volumes, in that order, each filesystem once: on an image
/// for both CD-ROMs and USB sticks, the disk and a partition hold the same one, and a btrfs may
/// have several devices.
pub fn contents(survey: &Survey) -> Vec<Found<'_>> {
    let disks = survey.disks.iter().flat_map(|disk| {
        let whole = std::iter::once((&disk.device, disk.bytes, &disk.content));
        let parts = disk.partitions.iter();
        whole.chain(parts.map(|part| (&part.device, part.bytes, &part.content)))
    });
    let volumes = survey.volumes.iter();
    let volumes = volumes.map(|volume| (&volume.device, volume.bytes, &volume.content));
    let mut seen = HashSet::new();
    disks
        .chain(volumes)
        .filter_map(|(device, bytes, content)| {
            let content = content.as_ref()?;
            let found = Found {
                device,
                bytes,
                content,
            };
            let known = match (content.kind.is_filesystem(), &content.uuid) {
                (true, Some(uuid)) => !seen.insert((content.kind, uuid)),
                _ => false,
            };
            (!known).then_some(found)
        })
        .collect()
}

pub fn filesystems(survey: &Survey) -> Vec<Found<'_>> {
    let mut found = contents(survey);
    found.retain(|found| found.content.kind.is_filesystem());
    found
}

/// The filesystem to take for the root of an image without a system: its only one, or that of a CD,
/// whose other partitions only serve to boot it.
pub fn main_filesystem(survey: &Survey) -> Option<Found<'_>> {
    let found = filesystems(survey);
    match &found[..] {
        [one] => Some(*one),
        [first, ..] if first.content.kind == Kind::Iso9660 => Some(*first),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::disks::{Disk, Partition, Volume};

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
    fn a_filesystem_is_there_once_and_swap_is_none() {
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
        let same = survey(disk(None, vec![ext4(), ext4()]));
        assert_eq!(devices(&filesystems(&same)), ["/dev/sda1"]);
        assert_eq!(main_filesystem(&same).unwrap().device, "/dev/sda1");
    }

    #[test]
    fn a_cd_with_partitions_is_a_cd() {
        let iso = || content(Kind::Iso9660, "i");
        let cd = survey(disk(iso(), vec![iso(), content(Kind::Vfat, "e")]));
        assert_eq!(devices(&filesystems(&cd)), ["/dev/sda", "/dev/sda2"]);
        assert_eq!(main_filesystem(&cd).unwrap().device, "/dev/sda");
    }
}
