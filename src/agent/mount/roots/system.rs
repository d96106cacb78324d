//! Names a system by its files, and plans its mounts.

use super::super::block_id::BlockId;
use super::super::system_tree::SystemTree;
use super::super::{array_names, crypttab, os, plan, units};
use super::discoverable;
use super::search::{FoundRoot, Search};
use crate::agent::root::RootDir;
use crate::block::fstab::FstabEntry;
use crate::block::partition_types::PartitionRole;
use crate::protocol::disks::{Mount, SkippedMount};

/// The system whose files are `tree`. `own` are the mounts that it has whatever its fstab says; the
/// first is the root.
pub(super) fn system(
    search: &mut Search<'_>,
    device: &BlockId,
    own: Vec<Mount>,
    mut tree: SystemTree,
) -> Option<FoundRoot> {
    let mut os = os::identify(&tree);
    if os.is_none() && device.role() != Some(PartitionRole::Root) {
        return None;
    }
    let mut list = MountList::new(search.known, device, &own, &tree);
    // The name may be on /usr, and the distribution's units are.
    let usr = list.mounts.iter().find(|mount| mount.target == "/usr");
    if let Some(usr) = usr.filter(|usr| usr.kind.is_some()).cloned()
        && let Some(usr_device) = search.known.iter().find(|other| other.device == usr.source)
        && let Some(mounted) = search.mounted(usr_device, &usr.options, "usr")
    {
        tree.usr = RootDir::open(&mounted.path).ok();
        os = os::identify(&tree);
        list = MountList::new(search.known, device, &own, &tree);
        // The directory is closed before its filesystem is unmounted.
        tree.usr = None;
    }
    Some(FoundRoot {
        device: device.clone(),
        subvolume: None,
        os: os?,
        entries: list.entries,
        mounts: list.mounts,
        left_out: list.left_out,
    })
}

/// What a system mounts.
struct MountList {
    entries: Vec<FstabEntry>,
    mounts: Vec<Mount>,
    left_out: Vec<SkippedMount>,
}

impl MountList {
    fn new(known: &[BlockId], device: &BlockId, own: &[Mount], tree: &SystemTree) -> Self {
        let entries = units::entries(tree);
        let known = array_names::named(known, &array_names::of_system(tree));
        let known = crypttab::named(known, &device.device, tree);
        let (below, mut left_out) = plan::mounts(&entries, &device.device, &known);
        let is_listed = |mount: &&Mount| !below.iter().any(|other| other.target == mount.target);
        let mut mounts: Vec<_> = own.iter().filter(is_listed).cloned().collect();
        mounts.extend(below);
        let (found, skipped) = discoverable::mounts(&known, device, tree, &entries, &mounts);
        mounts.extend(found);
        left_out.extend(skipped);
        Self {
            entries,
            mounts: plan::in_order(mounts),
            left_out,
        }
    }
}
