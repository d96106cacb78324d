//! The volume group that LVM metadata describes: its logical volumes.

use super::config::{self, Node};
use super::segment::{PhysicalVolume, PhysicalVolumes, Segment, SegmentKind, segments};

/// A volume group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The name, valid as a file name.
    pub name: String,
    /// The identifier.
    pub id: String,
    /// The number of the revision: of several copies the highest counts.
    pub sequence: u64,
    /// The identifiers of its physical volumes.
    pub physical: Vec<String>,
    /// The volumes, those that others are made of included, up to a limit.
    pub volumes: Vec<LogicalVolume>,
    /// The number of volumes over the limit.
    pub more: usize,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq)]
pub struct LogicalVolume {
    /// The name in the group, valid as a file name.
    pub name: String,
    /// The identifier.
    pub id: String,
    /// Whether users see it.
    pub visible: bool,
    /// The segments in order, without gaps, or why they cannot be mapped.
    pub segments: Result<Vec<Segment>, String>,
}

/// Limit on the volumes of a group: each costs time, and space in the response.
const MAX_VOLUMES: usize = 1024;

impl Group {
    pub fn volume(&self, name: &str) -> Option<&LogicalVolume> {
        self.volumes.iter().find(|volume| volume.name == name)
    }

    /// The snapshot that keeps its changes in the volume called `name`.
    pub(crate) fn snapshot(&self, name: &str) -> Option<&LogicalVolume> {
        let keeps = |volume: &&LogicalVolume| match volume.kind() {
            Some(SegmentKind::Snapshot { changes, .. }) => changes == name,
            _ => false,
        };
        self.volumes.iter().find(keeps)
    }

    /// Whether the volume called `name` has snapshots.
    pub(crate) fn is_origin(&self, name: &str) -> bool {
        self.volumes.iter().any(|volume| match volume.kind() {
            Some(SegmentKind::Snapshot { origin, .. }) => origin == name,
            _ => false,
        })
    }

    /// The volumes that hold something a user may want, by the names that a user knows. A pool
    /// holds other volumes, and a snapshot has the name of the volume that holds its changes.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &LogicalVolume> {
        self.volumes.iter().filter(|volume| {
            let is_other = matches!(
                volume.kind(),
                Some(
                    SegmentKind::ThinPool { .. }
                        | SegmentKind::CachePool { .. }
                        | SegmentKind::Snapshot { .. }
                )
            );
            // Of a snapshot, LVM marks the volume that stands for it.
            let snapshot = self.snapshot(&volume.name);
            snapshot.map_or(volume.visible, |snapshot| snapshot.visible) && !is_other
        })
    }
}

impl LogicalVolume {
    /// What its first segment is made of. Kinds that are more than a place are never mixed.
    pub(crate) fn kind(&self) -> Option<&SegmentKind> {
        Some(&self.segments.as_ref().ok()?.first()?.kind)
    }

    /// In sectors.
    pub(crate) fn length(&self) -> u64 {
        let last = self.segments.as_ref().ok().and_then(|all| all.last());
        last.map_or(0, |last| last.start + last.length)
    }
}

/// Parses the metadata of a physical volume; `None` if it describes no group.
pub fn parse(text: &str) -> Option<Group> {
    let root = config::parse(text)?;
    let (name, group) = root
        .entries()
        .iter()
        .find(|(_, node)| node.get("physical_volumes").is_some())?;
    let extent = group.number("extent_size").filter(|size| *size > 0)?;
    let physical = physical_volumes(group)?;
    let volumes = group.get("logical_volumes").map_or(&[][..], Node::entries);
    Some(Group {
        name: valid_name(name)?.to_owned(),
        id: group.text("id")?.to_owned(),
        sequence: group.number("seqno").unwrap_or_default(),
        physical: physical.values().map(|pv| pv.id.to_owned()).collect(),
        more: volumes.len().saturating_sub(MAX_VOLUMES),
        volumes: volumes
            .iter()
            .take(MAX_VOLUMES)
            .filter_map(|(name, volume)| {
                let status = volume.list("status");
                Some(LogicalVolume {
                    name: valid_name(name)?.to_owned(),
                    id: volume.text("id")?.to_owned(),
                    visible: status.contains(&Node::Text("VISIBLE".into())),
                    segments: segments(volume, extent, &physical),
                })
            })
            .collect(),
    })
}

/// Accepts a name that LVM would (lvm(8), VALID NAMES): it becomes a file name.
fn valid_name(name: &str) -> Option<&str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
    let valid = !name.is_empty()
        && name.len() < 128
        && name.chars().all(allowed)
        && !name.starts_with('-')
        && !matches!(name, "." | "..");
    valid.then_some(name)
}

fn physical_volumes(group: &Node) -> Option<PhysicalVolumes<'_>> {
    let entries = group.get("physical_volumes")?.entries().iter();
    entries
        .map(|(name, volume)| {
            let id = volume.text("id")?;
            let first = volume.number("pe_start")?;
            Some((&**name, PhysicalVolume { id, first }))
        })
        .collect()
}

/// The name of the volume's device-mapper device: hyphens of group and volume are doubled.
pub(crate) fn mapper_name(group: &str, volume: &str) -> String {
    let doubled = |name: &str| name.replace('-', "--");
    format!("{}-{}", doubled(group), doubled(volume))
}
