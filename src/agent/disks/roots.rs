//! Finds the roots of operating systems: each filesystem that could be one is mounted and
//! looked at, each btrfs subvolume too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::fstab::Entry;
use super::inside::Inside;
use super::look::{self, Look};
use super::modules::Modules;
use super::plan::{self, Known};
use crate::guest::wire::disks::{Kind, Mount, Root, System};

/// The number of the directory that a subvolume is (BTRFS_FIRST_FREE_OBJECTID).
const SUBVOLUME: u64 = 256;
/// So many entries of a directory are looked at, and so many subvolumes.
const MOST: usize = 256;

/// A root as it was found, before the others are known.
struct Found {
    device: Known,
    subvolume: Option<String>,
    os: System,
    fstab: Vec<Entry>,
}

/// Every root on `known`, and what could not be looked at.
pub fn find(known: &[Known], modules: &mut Modules) -> (Vec<Root>, Vec<String>) {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    for device in known.iter().filter(|device| may_be_root(device.kind)) {
        let looked = match device.kind {
            Kind::Btrfs => btrfs(device, modules, &mut warnings),
            _ => one(device, &[], None, modules, &mut warnings)
                .into_iter()
                .collect(),
        };
        found.extend(looked);
    }
    // Of several, nobody knows which is meant.
    if found.len() != 1 {
        look::release_all();
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

fn root(found: Found, known: &[Known]) -> Root {
    let (below, left_out) = plan::mounts(&found.fstab, known);
    let mut options = Vec::new();
    if let Some(name) = &found.subvolume {
        options.push(format!("subvol={name}"));
    }
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
        left_out,
    }
}

/// What went wrong becomes a remark.
fn noted<T>(result: Result<T, String>, warnings: &mut Vec<String>) -> Option<T> {
    result.map_err(|remark| warnings.push(remark)).ok()
}

fn one(
    device: &Known,
    options: &[String],
    subvolume: Option<&str>,
    modules: &mut Modules,
    warnings: &mut Vec<String>,
) -> Option<Found> {
    let look = noted(Look::at(device, options, look::ROOT, modules), warnings)?;
    let (os, fstab) = Inside::at(&look.place).ok()?.system()?;
    look.keep();
    Some(Found {
        device: device.clone(),
        subvolume: subvolume.map(str::to_owned),
        os,
        fstab,
    })
}

/// The default subvolume and each other one that is at most two directories deep.
fn btrfs(device: &Known, modules: &mut Modules, warnings: &mut Vec<String>) -> Vec<Found> {
    let top = ["subvolid=5".to_owned()];
    let Some(all) = noted(Look::at(device, &top, "top", modules), warnings) else {
        return vec![];
    };
    let Some(default) = noted(Look::at(device, &[], "default", modules), warnings) else {
        return vec![];
    };
    // Each subvolume has a device number of its own.
    let number = |path: &Path| fs::symlink_metadata(path).map(|data| data.dev()).ok();
    let default_number = number(&default.place);
    let mut places = vec![(None, default.place.clone())];
    for name in subvolumes(&all.place) {
        let path = all.place.join(&name);
        if number(&path) == default_number {
            places.remove(0);
        }
        places.push((Some(name), path));
    }
    let looked = places.into_iter().filter_map(|(name, path)| {
        let (os, fstab) = Inside::at(&path).ok()?.system()?;
        Some(Found {
            device: device.clone(),
            subvolume: name,
            os,
            fstab,
        })
    });
    without_snapshots(looked.collect())
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
            if number.is_ok_and(|number| number == SUBVOLUME) && found.len() < MOST {
                found.push(path.clone());
            } else if depth == 0 {
                queue.push((path, 1));
            }
        }
    }
    found.sort();
    found
}

/// The real directories in `path`; nothing is followed.
fn directories(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.take(MOST).filter(|entry| {
        let kind = entry.file_type();
        kind.is_ok_and(|kind| kind.is_dir())
    });
    // A comma would end the option that names it.
    let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.contains(',')).collect()
}

/// A snapshot of a root holds the fstab of its original, which names the original.
fn without_snapshots(found: Vec<Found>) -> Vec<Found> {
    let name = |found: &Found| found.subvolume.clone().unwrap_or_default();
    let names: Vec<_> = found.iter().map(name).collect();
    let of_another = |found: &Found| {
        let entry = plan::root_entry(&found.fstab);
        let said = entry.and_then(|entry| entry.value("subvol"));
        said.is_some_and(|said| {
            let said = said.trim_start_matches('/');
            said != name(found) && names.iter().any(|name| name == said)
        })
    };
    let (snapshots, roots): (Vec<_>, Vec<_>) = found.into_iter().partition(of_another);
    if roots.is_empty() { snapshots } else { roots }
}
