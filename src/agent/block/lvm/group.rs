//! The volume group that LVM metadata describes: its visible logical volumes with their segments,
//! and the device-mapper tables for these.

use std::collections::HashMap;

use super::config::{self, Node};

#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The name, valid as a file name.
    pub name: String,
    pub id: String,
    /// The number of the revision: of several copies the highest counts.
    pub sequence: u64,
    /// The visible volumes, up to a limit.
    pub volumes: Vec<LogicalVolume>,
    /// The number of visible volumes over the limit.
    pub more: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogicalVolume {
    /// The name in the group, valid as a file name.
    pub name: String,
    pub id: String,
    /// The segments in order, without gaps, or why they cannot be mapped.
    pub segments: Result<Vec<Segment>, String>,
}

/// A contiguous part of a volume, in sectors of 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub start: u64,
    pub length: u64,
    /// The sectors of a stripe; 0 if there is only one stripe.
    pub chunk: u64,
    /// For each stripe the identifier of the physical volume and the offset on it.
    pub stripes: Vec<(String, u64)>,
}

const MAX_SEGMENTS: usize = 65_536;
/// Limit on the volumes of a group: each costs time, and space in the response.
const MAX_VOLUMES: usize = 512;
/// Limit on the stripes of a segment (lvcreate(8), --stripes).
const MAX_STRIPES: usize = 128;

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
    let visible = volumes.iter().filter(|(_, volume)| {
        let status = volume.list("status");
        status.contains(&Node::Text("VISIBLE".into()))
    });
    Some(Group {
        name: valid_name(name)?.to_owned(),
        id: group.text("id")?.to_owned(),
        sequence: group.number("seqno").unwrap_or_default(),
        more: visible.clone().count().saturating_sub(MAX_VOLUMES),
        volumes: visible
            .take(MAX_VOLUMES)
            .filter_map(|(name, volume)| {
                Some(LogicalVolume {
                    name: valid_name(name)?.to_owned(),
                    id: volume.text("id")?.to_owned(),
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

struct PhysicalVolume<'a> {
    id: &'a str,
    first: u64,
}

type PhysicalVolumes<'a> = HashMap<&'a str, PhysicalVolume<'a>>;

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

fn segments(
    volume: &Node,
    extent: u64,
    physical: &PhysicalVolumes,
) -> Result<Vec<Segment>, String> {
    let parts = volume.entries().iter();
    let parts = parts
        .filter(|(name, node)| name.starts_with("segment") && matches!(node, Node::Section(_)));
    let mut segments = Vec::new();
    for (_, part) in parts {
        segments.push(segment(part, extent, physical)?);
        if segments.len() > MAX_SEGMENTS {
            return Err("it has too many segments".into());
        }
    }
    segments.sort_by_key(|segment| segment.start);
    // The kernel's table must have neither gaps nor overlaps.
    let mut end = 0;
    for segment in &segments {
        if segment.start != end {
            return Err("its segments have gaps or overlap".into());
        }
        end = segment.start + segment.length;
    }
    match segments.is_empty() {
        true => Err("it has no segments".into()),
        false => Ok(segments),
    }
}

fn segment(part: &Node, extent: u64, physical: &PhysicalVolumes) -> Result<Segment, String> {
    let kind = part.text("type").unwrap_or_default();
    // LVM writes a linear segment as striped with one stripe.
    if !matches!(kind, "striped" | "linear") {
        let kind: String = kind.chars().filter(|c| c.is_ascii_graphic()).collect();
        return Err(format!("segments of type {kind:.32} are not supported"));
    }
    mapped(part, extent, physical).ok_or_else(|| "its metadata is broken".into())
}

fn mapped(part: &Node, extent: u64, physical: &PhysicalVolumes) -> Option<Segment> {
    let sectors = |name: &str| part.number(name)?.checked_mul(extent);
    let (start, length) = (sectors("start_extent")?, sectors("extent_count")?);
    start.checked_add(length)?;
    let pairs = part.list("stripes").chunks(2);
    if length == 0 || pairs.len() > MAX_STRIPES {
        return None;
    }
    let stripes = pairs.map(|pair| {
        let [Node::Text(name), Node::Number(first)] = pair else {
            return None;
        };
        let volume = physical.get(&**name)?;
        let first = u64::try_from(*first).ok()?.checked_mul(extent)?;
        Some((volume.id.to_owned(), first.checked_add(volume.first)?))
    });
    let stripes = stripes.collect::<Option<Vec<_>>>()?;
    let chunk = match stripes.len() as u64 {
        0 => return None,
        1 => 0,
        count => {
            let chunk = part.number("stripe_size")?;
            (chunk != 0 && length % count == 0).then_some(chunk)?
        }
    };
    Some(Segment {
        start,
        length,
        chunk,
        stripes,
    })
}

/// The name of the volume's device-mapper device: hyphens of group and volume are doubled.
pub(crate) fn mapper_name(group: &str, volume: &str) -> String {
    let doubled = |name: &str| name.replace('-', "--");
    format!("{}-{}", doubled(group), doubled(volume))
}

/// A line of a device-mapper table (Documentation/admin-guide/device-mapper).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableLine {
    /// In sectors, as is the length.
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// `linear` or `striped`.
    pub(crate) target: &'static str,
    pub(crate) arguments: String,
}

/// The line for `segment`; `device` gives the `MAJOR:MINOR` of a physical volume. Fails with the
/// identifier of a physical volume that is missing.
pub(crate) fn line(
    segment: &Segment,
    device: impl Fn(&str) -> Option<String>,
) -> Result<TableLine, String> {
    let mut places = Vec::new();
    for (id, at) in &segment.stripes {
        let device = device(id).ok_or_else(|| id.clone())?;
        places.push(format!("{device} {at}"));
    }
    let (target, arguments) = match &places[..] {
        [place] => ("linear", place.clone()),
        _ => {
            let stripes = places.join(" ");
            let (count, chunk) = (places.len(), segment.chunk);
            ("striped", format!("{count} {chunk} {stripes}"))
        }
    };
    Ok(TableLine {
        start: segment.start,
        length: segment.length,
        target,
        arguments,
    })
}
