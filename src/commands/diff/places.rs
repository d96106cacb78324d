//! The filesystems of an image that are compared: its system as it mounts them, and the others each for
//! itself. Pure.

use std::collections::BTreeMap;

use crate::commands::inspection::{name_of, roots};
use crate::inspect::filesystems::{filesystems, same};
use crate::launch::Failure;
use crate::protocol::disks::{Mount, Root, Survey};

/// What is mounted to be compared, by name: `None` is the image's only system, or its only filesystem.
pub(super) type Places = BTreeMap<Option<String>, Vec<Mount>>;

/// All places of an image; only the one that `root` names, if it does.
pub(super) fn places(survey: &Survey, root: Option<&str>) -> Result<Places, Failure> {
    if root.is_some() {
        return Ok(Places::from([(None, roots::choose(survey, root)?.mounts)]));
    }
    let mut places: Places = match &survey.roots[..] {
        [root] => Places::from([(None, root.mounts.clone())]),
        roots => {
            let place = |root: &Root| (Some(name_of(root)), root.mounts.clone());
            roots.iter().map(place).collect()
        }
    };
    let same = same(survey);
    let is_mounted = |device: &str| {
        let mut mounts = survey.roots.iter().flat_map(|root| &root.mounts);
        mounts.any(|mount| {
            let source = mount.source.as_str();
            source == device || same.get(source) == Some(&device)
        })
    };
    let all = filesystems(survey);
    let others = all.iter().filter(|found| !is_mounted(found.device));
    let is_alone = survey.roots.is_empty() && all.len() == 1;
    for found in others {
        let name = (!is_alone).then(|| found.device.to_owned());
        let root = Root::alone(found.device, found.content.kind);
        places.insert(name, root.mounts);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::disks::{Content, Disk, Kind, Partition};

    fn survey(kinds: &[Kind]) -> Survey {
        let partition = |(index, kind): (usize, &Kind)| Partition {
            number: index as u32 + 1,
            device: format!("/dev/vda{}", index + 1),
            start: 0,
            bytes: 1,
            kind: None,
            label: None,
            uuid: None,
            content: Some(Content {
                kind: *kind,
                uuid: None,
                label: None,
                usage: None,
            }),
        };
        let disk = Disk {
            device: "/dev/vda".to_owned(),
            bytes: 9,
            serial: None,
            table: None,
            content: None,
            partitions: kinds.iter().enumerate().map(partition).collect(),
        };
        Survey {
            disks: vec![disk],
            ..Survey::default()
        }
    }

    fn names(survey: &Survey) -> Vec<Option<String>> {
        places(survey, None).unwrap().into_keys().collect()
    }

    #[test]
    fn the_only_filesystem_needs_no_name_and_several_are_named_by_their_devices() {
        assert_eq!(names(&survey(&[Kind::Ext4])), [None]);
        let two = survey(&[Kind::Ext4, Kind::Swap, Kind::Xfs]);
        let device = |name: &str| Some(name.to_owned());
        assert_eq!(names(&two), [device("/dev/vda1"), device("/dev/vda3")]);
        assert_eq!(names(&survey(&[Kind::Swap])), []);
    }

    #[test]
    fn what_the_system_does_not_mount_is_a_place_of_its_own() {
        let mut one = survey(&[Kind::Ext4, Kind::Vfat, Kind::Xfs]);
        let mut root = Root::alone("/dev/vda1", Kind::Ext4);
        root.mounts
            .push(Mount::new("/dev/vda2", "/boot", Kind::Vfat));
        one.roots = vec![root];
        assert_eq!(names(&one), [None, Some("/dev/vda3".to_owned())]);
        let only = places(&one, Some("/dev/vda3")).unwrap();
        assert_eq!(only[&None][0].source, "/dev/vda3");
    }
}
