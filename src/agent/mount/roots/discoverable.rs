//! What the types of partitions say of a system that does not say it itself (UAPI Group,
//! Discoverable Partitions Specification).

use std::cmp::Ordering;

use super::super::block_id::BlockId;
use super::super::os;
use super::super::plan;
use super::super::system_tree::SystemTree;
use super::search::{FoundRoot, Search};
use crate::agent::root::RootDir;
use crate::block::fstab::FstabEntry;
use crate::block::partition_types::PartitionRole;
use crate::linux::version;
use crate::protocol::disks::{Mount, SkippedMount};

/// The label of a partition that waits for a version (systemd-sysupdate(8)).
const VACANT: &str = "_empty";

/// Mounts by the types of the other partitions on the disk of `device`, where neither `entries` nor
/// `mounts` have the place or the partition, and `tree` has no files at the place. Also those that
/// cannot be made.
pub(super) fn mounts(
    known: &[BlockId],
    device: &BlockId,
    tree: &SystemTree,
    entries: &[FstabEntry],
    mounts: &[Mount],
) -> (Vec<Mount>, Vec<SkippedMount>) {
    let mut found = (Vec::new(), Vec::new());
    let others = on_disk(known, device);
    let is_free = |target: &str| {
        let is_listed = entries
            .iter()
            .any(|entry| entry.target.trim_end_matches('/') == target);
        let is_mounted = mounts.iter().any(|mount| mount.target == target);
        let root = tree.root.as_ref();
        let is_empty = root.is_none_or(|root| root.names(target).is_empty());
        !is_listed && !is_mounted && is_empty
    };
    let mut add = |partition: &BlockId, target: &str| {
        let is_used = mounts.iter().any(|mount| mount.source == partition.device);
        if is_used || !is_free(target) {
            return;
        }
        match partition.kind.is_filesystem() {
            true => found
                .0
                .push(Mount::new(&partition.device, target, partition.kind)),
            false => found.1.push(SkippedMount {
                source: partition.device.clone(),
                target: target.to_owned(),
                reason: format!("contains {}, not a filesystem", partition.kind.name()),
                missing: true,
            }),
        }
    };
    use PartitionRole::{Boot, Esp, Home, Srv, Tmp, Usr, Var};
    for role in [Usr, Home, Srv, Var, Tmp] {
        let of_role = others.iter().filter(|other| other.role() == Some(role));
        let chosen = match role {
            Usr => newest_of(of_role.copied()),
            _ => of_role.copied().next(),
        };
        if let (Some(partition), Some(target)) = (chosen, role.mount_point()) {
            add(partition, target);
        }
    }
    let of_role = |role| {
        others
            .iter()
            .find(move |other| other.role() == Some(role))
            .copied()
    };
    let (boot, esp) = (of_role(Boot), of_role(Esp));
    // A system without a root directory of its own has every mount point.
    let has = |target: &str| tree.root.is_none() || tree.has_directory(target);
    if let Some(boot) = boot.filter(|_| has("/boot")) {
        add(boot, "/boot");
    }
    if let Some(esp) = esp {
        let is_own = tree.root.is_some() && tree.has_directory("/efi");
        match (is_own || boot.is_some(), has("/efi"), has("/boot")) {
            (true, true, _) => add(esp, "/efi"),
            (false, _, true) => add(esp, "/boot"),
            _ => {}
        }
    }
    found
}

/// The other partitions on the disk that `device` is a partition of.
fn on_disk<'a>(known: &'a [BlockId], device: &BlockId) -> Vec<&'a BlockId> {
    let others = known.iter().filter(|other| {
        device.disk.is_some() && other.disk == device.disk && other.device != device.device
    });
    others.collect()
}

/// The partition of which the label says that it is the newest.
fn newest_of<'a>(partitions: impl Iterator<Item = &'a BlockId>) -> Option<&'a BlockId> {
    let usable = partitions.filter(|one| one.part_label.as_deref() != Some(VACANT));
    // Of several the first.
    usable.reduce(
        |best, one| match version::compare(label(one), label(best)) {
            Ordering::Greater => one,
            _ => best,
        },
    )
}

fn label(partition: &BlockId) -> &str {
    partition.part_label.as_deref().unwrap_or_default()
}

/// Drops older versions of a system: of root partitions whose labels differ in nothing but the
/// version, the newest is booted.
pub(super) fn newest(found: Vec<FoundRoot>) -> Vec<FoundRoot> {
    let devices: Vec<_> = found.iter().map(|found| found.device.clone()).collect();
    let is_older = |one: &BlockId| {
        devices.iter().any(|other| {
            one.role() == Some(PartitionRole::Root)
                && (&other.disk, &other.part_kind) == (&one.disk, &one.part_kind)
                && name_of(label(one)).is_some_and(|name| name_of(label(other)) == Some(name))
                && version::compare(label(other), label(one)) == Ordering::Greater
        })
    };
    let mut found = found;
    found.retain(|found| !is_older(&found.device));
    found
}

/// What is in front of the version: `acme_` of `acme_1.2`.
fn name_of(label: &str) -> Option<&str> {
    let end = label.find(|c: char| c.is_ascii_digit())?;
    Some(&label[..end]).filter(|name| !name.is_empty())
}

/// Systems that have nothing but /usr, whose root is made when they boot: on disks with a partition
/// for /usr that no root in `found` uses.
pub(super) fn usr_only(search: &mut Search<'_>, found: &[FoundRoot]) -> Vec<FoundRoot> {
    let known = search.known;
    let is_usr = |device: &&BlockId| device.role() == Some(PartitionRole::Usr);
    let mut disks: Vec<_> = known.iter().filter(is_usr).map(|usr| &usr.disk).collect();
    disks.dedup();
    let mut roots = Vec::new();
    for disk in disks {
        if found.iter().any(|found| found.device.disk == *disk) {
            continue;
        }
        let on_it = known.iter().filter(is_usr).filter(|usr| usr.disk == *disk);
        let newest = newest_of(on_it.filter(|usr| usr.kind.is_filesystem()));
        roots.extend(newest.and_then(|usr| with_usr(search, usr)));
    }
    roots
}

fn with_usr(search: &mut Search<'_>, usr: &BlockId) -> Option<FoundRoot> {
    let mounted = search.mounted(usr, &[], "usr")?;
    let tree = SystemTree {
        root: None,
        usr: Some(RootDir::open(&mounted.path).ok()?),
    };
    let os = os::identify(&tree)?;
    let own = vec![
        Mount::in_memory(),
        Mount::new(&usr.device, "/usr", usr.kind),
    ];
    let (found, left_out) = mounts(search.known, usr, &tree, &[], &own);
    Some(FoundRoot {
        device: usr.clone(),
        subvolume: None,
        os,
        entries: Vec::new(),
        mounts: plan::in_order([own, found].concat()),
        left_out,
    })
}
