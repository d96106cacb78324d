//! What the parts of the search have in common: what they know, and what they find.

use super::super::block_id::BlockId;
use super::super::modules::Modules;
use super::super::probe_mount::ProbeMount;
use crate::block::fstab::FstabEntry;
use crate::protocol::disks::{Mount, Root, SkippedMount, System};
use crate::protocol::warning::Warning;

/// What every part of the search uses.
pub(super) struct Search<'a> {
    pub(super) known: &'a [BlockId],
    pub(super) modules: &'a mut Modules,
    pub(super) warnings: Vec<Warning>,
}

impl Search<'_> {
    /// Mounts a device for inspection; a failure becomes a warning.
    pub(super) fn mounted(
        &mut self,
        device: &BlockId,
        options: &[String],
        name: &str,
    ) -> Option<ProbeMount> {
        let mounted = ProbeMount::new(device, options, name, self.modules);
        mounted.map_err(|warning| self.warnings.push(warning)).ok()
    }
}

/// A root, before it is known which others there are.
pub(super) struct FoundRoot {
    pub(super) device: BlockId,
    pub(super) subvolume: Option<String>,
    pub(super) os: System,
    /// What it mounts itself.
    pub(super) entries: Vec<FstabEntry>,
    /// The root first.
    pub(super) mounts: Vec<Mount>,
    pub(super) left_out: Vec<SkippedMount>,
}

impl FoundRoot {
    /// Whether its root directory is the top of a filesystem.
    pub(super) fn is_top(&self) -> bool {
        self.mounts
            .first()
            .is_some_and(|root| root.kind.is_some() && root.directory.is_none())
    }

    pub(super) fn into_root(self) -> Root {
        Root {
            device: self.device.device,
            kind: self.device.kind,
            subvolume: self.subvolume,
            os: self.os,
            mounts: self.mounts,
            left_out: self.left_out,
        }
    }
}
