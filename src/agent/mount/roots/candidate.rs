//! Examines one directory that may be the root of a system.

use std::path::Path;

use super::super::block_id::BlockId;
use super::super::system_tree::SystemTree;
use super::deployments;
use super::search::{FoundRoot, Search};
use super::system::system;
use crate::agent::root::RootDir;
use crate::protocol::disks::Mount;

/// The system whose root is at `path`, or in a deployment there. `own` mounts that directory.
pub(super) fn examine(
    search: &mut Search<'_>,
    device: &BlockId,
    own: Mount,
    path: &Path,
) -> Option<FoundRoot> {
    let tree = SystemTree::new(RootDir::open(path).ok()?);
    let is_repository = tree.has_directory("/ostree/deploy") || tree.has_directory("/composefs");
    if is_repository && let Some(found) = deployments::booted(search, device, &own, path) {
        return Some(found);
    }
    system(search, device, vec![own], tree)
}
