//! The systems in the subvolumes of a btrfs, without their snapshots.

use std::fs::File;
use std::path::Path;

use super::super::block_id::BlockId;
use super::super::plan;
use super::candidate::examine;
use super::search::{FoundRoot, Search};
use crate::block::subvolumes::{Subvolume, Subvolumes, TOP};
use crate::protocol::disks::Mount;
use crate::protocol::warning::{Warning, WarningCode};
use crate::sys::{btrfs_directory, search_btrfs};

/// The tree of roots (BTRFS_ROOT_TREE_OBJECTID).
const ROOT_TREE: u64 = 1;
/// Limit on the answers that are read: each is 4 KiB.
const MAX_ANSWERS: usize = 4096;
/// Limit on the subvolumes that are examined.
const MAX_EXAMINED: usize = 256;

/// A system in a subvolume.
struct Found {
    subvolume: Subvolume,
    /// From the top, without a slash in front.
    path: String,
    root: FoundRoot,
}

/// The systems on a btrfs: in the default subvolume, and in others.
pub(super) fn roots(search: &mut Search<'_>, device: &BlockId) -> Vec<FoundRoot> {
    let top = ["subvolid=5".to_owned()];
    let Some(mounted) = search.mounted(device, &top, "top") else {
        return vec![];
    };
    let (file, all) = match read(&mounted.path) {
        Ok(read) => read,
        Err(error) => {
            let reason = format!("its subvolumes cannot be listed: {error}");
            let warning = Warning::new(WarningCode::NotMounted, &device.device, reason);
            search.warnings.push(warning);
            return vec![];
        }
    };
    let default = all.default_id();
    let (mut writable, mut others): (Vec<_>, Vec<_>) =
        (all.all().cloned()).partition(|subvolume| !subvolume.read_only || subvolume.id == default);
    if writable.len() > MAX_EXAMINED {
        let reason = format!("of its subvolumes, only {MAX_EXAMINED} were examined");
        let warning = Warning::new(WarningCode::System, &device.device, reason);
        search.warnings.push(warning);
    }
    writable.sort_by_key(|subvolume| (subvolume.id != default, subvolume.id));
    let mut find = |subvolumes: Vec<Subvolume>| {
        let examined = subvolumes.into_iter().take(MAX_EXAMINED);
        let found = examined.filter_map(|subvolume| {
            let path = path(&all, &file, subvolume.id)?;
            let at = mounted.path.join(&path);
            let own = mount(device, &path, &subvolume, default);
            let mut root = examine(search, device, own, &at)?;
            root.subvolume = match path.is_empty() {
                true => (default != TOP).then(|| "/".to_owned()),
                false => Some(path.clone()),
            };
            Some(Found {
                subvolume,
                path,
                root,
            })
        });
        found.collect::<Vec<_>>()
    };
    let found = without_snapshots(find(writable), &all);
    let mut found = match found.is_empty() {
        false => found,
        // Backups, of each system the newest.
        true => {
            others.sort_by_key(|subvolume| std::cmp::Reverse(subvolume.made));
            let mut seen = Vec::new();
            let mut found = find(others);
            found.retain(|found| {
                let first = ancestors(&found.subvolume, &all).pop();
                let first = first.or_else(|| found.subvolume.uuid.clone());
                let is_new = !seen.contains(&first);
                seen.push(first);
                is_new
            });
            found
        }
    };
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found.into_iter().map(|found| found.root).collect()
}

/// Asks the kernel for the subvolumes of the btrfs that is mounted at `top`.
fn read(top: &Path) -> std::io::Result<(File, Subvolumes)> {
    let file = File::open(top)?;
    let mut all = Subvolumes::default();
    let mut next = Some((TOP, 0, 0));
    for _ in 0..MAX_ANSWERS {
        let Some(from) = next else { break };
        let (items, buffer) = search_btrfs(&file, ROOT_TREE, from)?;
        next = all.read(items, &buffer);
    }
    Ok((file, all))
}

/// `None` if a subvolume lies nowhere, or its path is not UTF-8.
fn path(all: &Subvolumes, file: &File, id: u64) -> Option<String> {
    let directory = |subvolume, inode| btrfs_directory(file, subvolume, inode).ok();
    String::from_utf8(all.path(id, directory)?).ok()
}

/// Mounts a subvolume. In an option a comma would end the name.
fn mount(device: &BlockId, path: &str, subvolume: &Subvolume, default: u64) -> Mount {
    let mut mount = Mount::new(&device.device, "/", device.kind);
    let is_plain = subvolume.id == TOP && default == TOP;
    if !is_plain {
        mount.options = vec![match path.is_empty() || path.contains([',', '\\']) {
            true => format!("subvolid={}", subvolume.id),
            false => format!("subvol={path}"),
        }];
    }
    mount
}

/// The UUIDs of what a subvolume is a snapshot of, and of what that is one of. The last may be
/// gone.
fn ancestors(subvolume: &Subvolume, all: &Subvolumes) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut next = subvolume.parent.clone();
    while let Some(uuid) = next.filter(|uuid| !found.contains(uuid)) {
        let parent = all.all().find(|other| other.uuid.as_ref() == Some(&uuid));
        next = parent.and_then(|parent| parent.parent.clone());
        found.push(uuid);
    }
    found
}

/// Drops what is no system of its own: snapshots, and the roots of containers. The default
/// subvolume, and one that its own fstab names, is booted and stays.
fn without_snapshots(found: Vec<Found>, all: &Subvolumes) -> Vec<Found> {
    let default = all.default_id();
    let id = |found: &Found| found.subvolume.id;
    let is_there = |uuid: &String| {
        let mut uuids = found
            .iter()
            .filter_map(|found| found.subvolume.uuid.as_ref());
        uuids.any(|other| other == uuid)
    };
    // What the default one was made of was booted before.
    let of_default = found.iter().find(|found| id(found) == default);
    let before = of_default.map(|found| ancestors(&found.subvolume, all));
    let before = before.unwrap_or_default();
    let is_own = |one: &Found| id(one) == default || named(one).is_some_and(|named| named.is(one));
    let is_other = |one: &Found| {
        let named = named(one).filter(|named| !named.is(one));
        let names_another = named.is_some_and(|named| found.iter().any(|other| named.is(other)));
        let is_snapshot = ancestors(&one.subvolume, all).iter().any(is_there);
        let was_booted = one
            .subvolume
            .uuid
            .as_ref()
            .is_some_and(|uuid| before.contains(uuid));
        let above = all.above(id(one));
        let is_inside = found.iter().any(|other| above.contains(&id(other)));
        names_another || is_snapshot || was_booted || is_inside
    };
    let keep: Vec<_> = found
        .iter()
        .map(|one| is_own(one) || !is_other(one))
        .collect();
    let none = !keep.contains(&true);
    let kept = found.into_iter().zip(keep);
    kept.filter(|(_, keep)| *keep || none)
        .map(|(found, _)| found)
        .collect()
}

/// The subvolume that an fstab has for the root.
enum Named<'a> {
    Path(&'a str),
    Id(u64),
}

impl Named<'_> {
    fn is(&self, found: &Found) -> bool {
        match self {
            Self::Path(path) => *path == found.path,
            Self::Id(id) => *id == found.subvolume.id,
        }
    }
}

fn named(found: &Found) -> Option<Named<'_>> {
    let entry = plan::root_entry(&found.root.entries)?;
    let path = entry.value("subvol").map(|path| path.trim_matches('/'));
    path.map(Named::Path)
        .or_else(|| Some(Named::Id(entry.value("subvolid")?.parse().ok()?)))
}
