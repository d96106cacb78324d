//! Finds the root filesystems of operating systems by mounting each candidate.
//!
//! [`candidate`] examines one directory, [`subvolumes`] those of a btrfs, [`deployments`] an OSTree
//! repository; [`system`] names a system and plans its mounts, and [`discoverable`] knows what the
//! types of partitions say. [`search`] is what they share.

mod candidate;
mod deployments;
mod discoverable;
mod search;
mod subvolumes;
mod system;

use std::collections::HashSet;

use super::block_id::{self, BlockId};
use super::btrfs_devices;
use super::modules::Modules;
use super::plan;
use super::probe_mount::{self, ROOT};
use crate::protocol::disks::{Kind, Mount, Root};
use crate::protocol::warning::Warning;
use search::{FoundRoot, Search};

/// Every root on the devices `known`, and warnings about those that could not be inspected.
pub(crate) fn find(known: &[BlockId], modules: &mut Modules) -> (Vec<Root>, Vec<Warning>) {
    let mut search = Search {
        known,
        modules,
        warnings: Vec::new(),
    };
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for device in known.iter().filter(|device| may_be_root(device.kind)) {
        match device.kind {
            // The other devices of a filesystem that was inspected.
            Kind::Btrfs
                if btrfs_devices::count(device) > 1 && !seen.insert(device.uuid.clone()) => {}
            Kind::Btrfs => found.extend(subvolumes::roots(&mut search, device)),
            _ => found.extend(one(&mut search, device)),
        }
    }
    // With several it is unknown which will be mounted.
    if found.len() != 1 {
        probe_mount::release_all();
    }
    let mut found = discoverable::newest(without_copies(found, known));
    found.extend(discoverable::usr_only(&mut search, &found));
    let roots = found.into_iter().map(FoundRoot::into_root).collect();
    (roots, search.warnings)
}

/// Drops snapshots of logical volumes: a volume whose fstab has another for the root, of the same
/// filesystem, which was found too.
fn without_copies(mut found: Vec<FoundRoot>, known: &[BlockId]) -> Vec<FoundRoot> {
    let devices: Vec<_> = found.iter().map(|found| found.device.clone()).collect();
    found.retain(|found| {
        let own = &found.device;
        let entry = plan::root_entry(&found.entries);
        let meant = entry.and_then(|entry| block_id::find(&entry.source, "", known));
        let is_copy = meant.is_some_and(|meant| {
            meant.device != own.device
                && (meant.kind, &meant.uuid) == (own.kind, &own.uuid)
                && devices.contains(meant)
        });
        !(own.is_volume() && is_copy)
    });
    found
}

fn may_be_root(kind: Kind) -> bool {
    use Kind::{
        Bcachefs, Btrfs, Erofs, Ext2, Ext3, Ext4, F2fs, Jfs, Nilfs2, Ntfs, Reiserfs, Squashfs, Ufs,
        Xfs,
    };
    matches!(
        kind,
        Ext2 | Ext3
            | Ext4
            | Xfs
            | Btrfs
            | F2fs
            | Squashfs
            | Erofs
            | Jfs
            | Nilfs2
            | Reiserfs
            | Bcachefs
            | Ufs
            | Ntfs
    )
}

fn one(search: &mut Search<'_>, device: &BlockId) -> Option<FoundRoot> {
    let mounted = search.mounted(device, &[], ROOT)?;
    let own = Mount::new(&device.device, "/", device.kind);
    let found = candidate::examine(search, device, own, &mounted.path)?;
    if found.is_top() {
        mounted.keep();
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::fstab;
    use crate::protocol::disks::{Content, System};

    fn volume(name: &str, uuid: &str) -> BlockId {
        let content = Content {
            kind: Kind::Ext4,
            uuid: Some(uuid.to_owned()),
            label: None,
            usage: None,
        };
        BlockId::new(name, &content, vec![name.to_owned()])
    }

    /// The volumes that stay, of those with these devices and fstabs.
    fn kept(volumes: &[(&BlockId, &str)]) -> Vec<String> {
        let known: Vec<_> = volumes.iter().map(|(id, _)| (*id).clone()).collect();
        let found = volumes.iter().map(|(id, text)| FoundRoot {
            device: (*id).clone(),
            subvolume: None,
            os: System::default(),
            entries: fstab::parse(text),
            mounts: Vec::new(),
            left_out: Vec::new(),
        });
        let kept = without_copies(found.collect(), &known).into_iter();
        kept.map(|found| found.device.device).collect()
    }

    #[test]
    fn a_volume_whose_fstab_names_its_original_is_a_copy() {
        let (root, snapshot) = (
            volume("/dev/mapper/vg-root", "a"),
            volume("/dev/mapper/vg-s", "a"),
        );
        for fstab in ["/dev/mapper/vg-root / ext4", "UUID=a / ext4"] {
            let both = [(&root, fstab), (&snapshot, fstab)];
            assert_eq!(kept(&both), ["/dev/mapper/vg-root"]);
        }
        // The first one alone, another filesystem, and partitions, which are two slots.
        assert_eq!(kept(&[(&snapshot, "/dev/mapper/vg-root / ext4")]).len(), 1);
        let other = volume("/dev/mapper/vg-s", "b");
        assert_eq!(
            kept(&[(&root, ""), (&other, "/dev/mapper/vg-root / ext4")]).len(),
            2
        );
        let slot = |number: u32| BlockId {
            partition: Some(number),
            ..volume(&format!("/dev/vda{number}"), "a")
        };
        assert_eq!(
            kept(&[(&slot(1), "UUID=a / ext4"), (&slot(2), "UUID=a / ext4")]).len(),
            2
        );
    }
}
