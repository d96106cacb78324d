//! From a volume group's metadata to the tables of its logical volumes. Pure: which device
//! bears which physical volume is told by the caller.

use std::collections::HashMap;

use super::config::{self, Node};

/// A volume group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub id: String,
    /// Which of several copies is the newest.
    pub sequence: u64,
    /// The visible ones.
    pub volumes: Vec<Logical>,
    /// How many visible ones there are besides: too many to be looked at.
    pub more: usize,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Logical {
    /// Its name in the group.
    pub name: String,
    /// Its identifier.
    pub id: String,
    /// Its segments in order, or why they cannot be mapped.
    pub segments: Result<Vec<Segment>, String>,
}

/// A part of a volume, in sectors of 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the volume.
    pub start: u64,
    /// Its length.
    pub length: u64,
    /// The sectors of a stripe; 0 where there is one stripe only.
    pub chunk: u64,
    /// The physical volumes' identifiers, and where on them it begins.
    pub stripes: Vec<(String, u64)>,
}

/// More is no group that anyone made, but text that was made to be long.
const MOST_SEGMENTS: usize = 65_536;
/// As many volumes are mapped. Each costs time, and room in the answer.
const MOST_VOLUMES: usize = 512;
/// LVM makes no more of a segment (lvcreate(8), --stripes).
const MOST_STRIPES: usize = 128;

/// The group in a physical volume's metadata.
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
        name: safe(name)?.to_owned(),
        id: group.text("id")?.to_owned(),
        sequence: group.number("seqno").unwrap_or_default(),
        more: visible.clone().count().saturating_sub(MOST_VOLUMES),
        volumes: visible
            .take(MOST_VOLUMES)
            .filter_map(|(name, volume)| {
                Some(Logical {
                    name: safe(name)?.to_owned(),
                    id: volume.text("id")?.to_owned(),
                    segments: segments(volume, extent, &physical),
                })
            })
            .collect(),
    })
}

/// LVM's own rule (lvm(8), VALID NAMES): it becomes a file's name.
fn safe(name: &str) -> Option<&str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
    let valid = !name.is_empty()
        && name.len() < 128
        && name.chars().all(allowed)
        && !name.starts_with('-')
        && !matches!(name, "." | "..");
    valid.then_some(name)
}

struct Physical<'a> {
    id: &'a str,
    /// The sector of its first extent.
    first: u64,
}

/// By their names within the text, which may have many.
type ByName<'a> = HashMap<&'a str, Physical<'a>>;

fn physical_volumes(group: &Node) -> Option<ByName<'_>> {
    let entries = group.get("physical_volumes")?.entries().iter();
    entries
        .map(|(name, volume)| {
            let id = volume.text("id")?;
            let first = volume.number("pe_start")?;
            Some((&**name, Physical { id, first }))
        })
        .collect()
}

fn segments(volume: &Node, extent: u64, physical: &ByName) -> Result<Vec<Segment>, String> {
    let parts = volume.entries().iter();
    let parts = parts
        .filter(|(name, node)| name.starts_with("segment") && matches!(node, Node::Section(_)));
    let mut segments = Vec::new();
    for (_, part) in parts {
        segments.push(segment(part, extent, physical)?);
        if segments.len() > MOST_SEGMENTS {
            return Err("it has too many segments".into());
        }
    }
    segments.sort_by_key(|segment| segment.start);
    // A table with a hole, or with an overlap, is none.
    let mut end = 0;
    for segment in &segments {
        if segment.start != end {
            return Err("its segments do not join".into());
        }
        end = segment.start + segment.length;
    }
    match segments.is_empty() {
        true => Err("it has no segment".into()),
        false => Ok(segments),
    }
}

fn segment(part: &Node, extent: u64, physical: &ByName) -> Result<Segment, String> {
    let kind = part.text("type").unwrap_or_default();
    // One stripe is what others call linear.
    if !matches!(kind, "striped" | "linear") {
        let kind: String = kind.chars().filter(|c| c.is_ascii_graphic()).collect();
        return Err(format!("segments of type {kind:.32} are not supported"));
    }
    let broken = || "its metadata is broken".to_owned();
    let sectors = |name: &str| {
        part.number(name)
            .and_then(|count| count.checked_mul(extent))
    };
    let (start, length) = (sectors("start_extent"), sectors("extent_count"));
    let (start, length) = start.zip(length).ok_or_else(broken)?;
    start.checked_add(length).ok_or_else(broken)?;
    let mut stripes = Vec::new();
    for pair in part.list("stripes").chunks(2) {
        if stripes.len() == MOST_STRIPES {
            return Err(broken());
        }
        let [Node::Text(name), Node::Number(first)] = pair else {
            return Err(broken());
        };
        let volume = physical.get(&**name).ok_or_else(broken)?;
        let first = u64::try_from(*first).ok();
        let at = first
            .and_then(|first| first.checked_mul(extent)?.checked_add(volume.first))
            .ok_or_else(broken)?;
        stripes.push((volume.id.to_owned(), at));
    }
    let chunk = match stripes.len() {
        0 => return Err(broken()),
        1 => 0,
        count => {
            let chunk = part.number("stripe_size").unwrap_or_default();
            if chunk == 0 || length % (count as u64) != 0 {
                return Err(broken());
            }
            chunk
        }
    };
    if length == 0 {
        return Err(broken());
    }
    Ok(Segment {
        start,
        length,
        chunk,
        stripes,
    })
}

/// The name of the volume's device, where hyphens of group and volume are doubled.
pub fn mapper_name(group: &str, volume: &str) -> String {
    let doubled = |name: &str| name.replace('-', "--");
    format!("{}-{}", doubled(group), doubled(volume))
}
