//! Finds the root filesystems of operating systems by mounting each candidate, and each btrfs
//! subvolume.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::root::RootDir;
use super::array_names;
use super::btrfs_devices;
use super::modules::Modules;
use super::os;
use super::plan::{self, BlockId};
use super::probe_mount::{self, ProbeMount, ROOT};
use crate::block::fstab::FstabEntry;
use crate::block::mdadm_conf::ArrayLine;
use crate::protocol::disks::{Kind, Mount, Root, System};
use crate::protocol::warning::Warning;

/// The inode number of a subvolume's top directory (BTRFS_FIRST_FREE_OBJECTID).
const SUBVOLUME: u64 = 256;
/// Limit on the entries read of a directory, and on subvolumes.
const MAX_ENTRIES: usize = 256;

/// A root, before it is known which others there are.
struct FoundRoot {
    device: BlockId,
    subvolume: Option<String>,
    os: System,
    fstab: Vec<FstabEntry>,
    arrays: Vec<ArrayLine>,
}

/// Every root on the devices `known`, and warnings about those that could not be inspected.
pub(crate) fn find(known: &[BlockId], modules: &mut Modules) -> (Vec<Root>, Vec<Warning>) {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    let mut seen = HashSet::new();
    for device in known.iter().filter(|device| may_be_root(device.kind)) {
        match device.kind {
            // The other devices of a filesystem that was inspected.
            Kind::Btrfs
                if btrfs_devices::count(device) > 1 && !seen.insert(device.uuid.clone()) => {}
            Kind::Btrfs => found.extend(btrfs(device, modules, &mut warnings)),
            _ => found.extend(one(device, modules, &mut warnings)),
        }
    }
    // With several it is unknown which will be mounted.
    if found.len() != 1 {
        probe_mount::release_all();
    }
    let roots = found.into_iter().map(|found| root(found, known)).collect();
    (roots, warnings)
}

fn may_be_root(kind: Kind) -> bool {
    use Kind::{Btrfs, Erofs, Ext2, Ext3, Ext4, F2fs, Squashfs, Xfs};
    matches!(
        kind,
        Ext2 | Ext3 | Ext4 | Xfs | Btrfs | F2fs | Squashfs | Erofs
    )
}

fn root(found: FoundRoot, known: &[BlockId]) -> Root {
    let known = array_names::named(known, &found.arrays);
    let (below, skipped) = plan::mounts(&found.fstab, &known);
    let options = found.subvolume.iter();
    let options = options.map(|name| format!("subvol={name}")).collect();
    let own = Mount {
        source: found.device.device.clone(),
        target: "/".into(),
        kind: Some(found.device.kind),
        options,
    };
    Root {
        device: found.device.device,
        kind: found.device.kind,
        subvolume: found.subvolume,
        os: found.os,
        mounts: std::iter::once(own).chain(below).collect(),
        left_out: skipped,
    }
}

fn or_warn<T>(result: Result<T, Warning>, warnings: &mut Vec<Warning>) -> Option<T> {
    result.map_err(|warning| warnings.push(warning)).ok()
}

fn one(device: &BlockId, modules: &mut Modules, warnings: &mut Vec<Warning>) -> Option<FoundRoot> {
    let mounted = or_warn(ProbeMount::new(device, &[], ROOT, modules), warnings)?;
    let found = identify(device, None, &mounted.path)?;
    mounted.keep();
    Some(found)
}

fn identify(device: &BlockId, subvolume: Option<String>, path: &Path) -> Option<FoundRoot> {
    let root = RootDir::open(path).ok()?;
    let (os, fstab) = os::identify(&root)?;
    Some(FoundRoot {
        device: device.clone(),
        subvolume,
        os,
        fstab,
        arrays: array_names::of_system(&root),
    })
}

/// Inspects the default subvolume, and every other one at most two directories deep.
fn btrfs(device: &BlockId, modules: &mut Modules, warnings: &mut Vec<Warning>) -> Vec<FoundRoot> {
    let top = ["subvolid=5".to_owned()];
    let Some(all) = or_warn(ProbeMount::new(device, &top, "top", modules), warnings) else {
        return vec![];
    };
    let Some(default) = or_warn(ProbeMount::new(device, &[], "default", modules), warnings) else {
        return vec![];
    };
    // Every subvolume has its own device number.
    let number = |path: &Path| fs::symlink_metadata(path).map(|data| data.dev()).ok();
    let default_number = number(&default.path);
    let mut places = vec![(None, default.path.clone())];
    for name in subvolumes(&all.path) {
        let path = all.path.join(&name);
        if number(&path) == default_number {
            places.remove(0);
        }
        places.push((Some(name), path));
    }
    let places = places.into_iter();
    let found = places.filter_map(|(name, path)| identify(device, name, &path));
    without_snapshots(found.collect())
}

/// The names of the subvolumes below the top: `@`, `root`, `vols/debian`.
fn subvolumes(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut queue = vec![(String::new(), 0)];
    while let Some((parent, depth)) = queue.pop() {
        for name in directories(&top.join(&parent)) {
            let path = if parent.is_empty() {
                name
            } else {
                format!("{parent}/{name}")
            };
            let number = fs::symlink_metadata(top.join(&path)).map(|data| data.ino());
            if number.is_ok_and(|number| number == SUBVOLUME) && found.len() < MAX_ENTRIES {
                found.push(path.clone());
            } else if depth == 0 {
                queue.push((path, 1));
            }
        }
    }
    found.sort();
    found
}

/// The directories in `path`, not through links.
fn directories(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.take(MAX_ENTRIES).filter(|entry| {
        let kind = entry.file_type();
        kind.is_ok_and(|kind| kind.is_dir())
    });
    // In the mount option a comma would end the name.
    let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.contains(',')).collect()
}

/// Drops snapshots of roots: their fstab names the subvolume of the original.
fn without_snapshots(found: Vec<FoundRoot>) -> Vec<FoundRoot> {
    let name = |found: &FoundRoot| found.subvolume.clone().unwrap_or_default();
    let names: Vec<_> = found.iter().map(name).collect();
    let is_snapshot = |found: &FoundRoot| {
        let entry = plan::root_entry(&found.fstab);
        let said = entry.and_then(|entry| entry.value("subvol"));
        said.is_some_and(|said| {
            let said = said.trim_start_matches('/');
            said != name(found) && names.iter().any(|name| name == said)
        })
    };
    let (snapshots, roots): (Vec<_>, Vec<_>) = found.into_iter().partition(is_snapshot);
    if roots.is_empty() { snapshots } else { roots }
}
