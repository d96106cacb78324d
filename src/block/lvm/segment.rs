//! The segments of a logical volume: what each part of it is made of.

use std::collections::HashMap;

use super::config::Node;

pub(super) struct PhysicalVolume<'a> {
    pub(super) id: &'a str,
    /// The sector of its first extent.
    pub(super) first: u64,
}

/// Physical volumes by the names that the metadata gives them.
pub(super) type PhysicalVolumes<'a> = HashMap<&'a str, PhysicalVolume<'a>>;

/// A contiguous part of a volume, in sectors of 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The offset in the volume.
    pub start: u64,
    pub length: u64,
    pub kind: SegmentKind,
}

/// What a segment is made of. Volumes are called by their names in the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// One area, or several that take turns, `chunk` sectors each.
    Striped { chunk: u64, areas: Vec<Area> },
    /// Any leg will do; the first one is the one that the others are copied from.
    Mirror { legs: Vec<Area> },
    /// A level of the kernel's dm-raid, with pairs of metadata and data.
    Raid {
        level: String,
        chunk: u64,
        region: u64,
        members: Vec<(Option<String>, String)>,
    },
    ThinPool {
        metadata: String,
        data: String,
        chunk: u64,
    },
    Thin {
        pool: String,
        device: u64,
        external_origin: Option<String>,
    },
    Cache {
        origin: String,
        pool: String,
        /// How the pool is divided, where it is one volume; else the pool's own segment says it.
        volume: Option<CacheVolume>,
        settings: CacheSettings,
    },
    CachePool {
        metadata: String,
        data: String,
        settings: CacheSettings,
    },
    Snapshot {
        origin: String,
        /// The volume that holds what differs. The snapshot is known by its name.
        changes: String,
        chunk: u64,
    },
}

/// Where an area begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Area {
    /// On a physical volume, by its identifier, at a sector.
    Physical(String, u64),
    /// On another logical volume, at a sector.
    Logical(String, u64),
}

/// The two parts of a cache that is one volume, in sectors: offset and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheVolume {
    pub metadata: (u64, u64),
    pub data: (u64, u64),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheSettings {
    pub chunk: u64,
    pub mode: Option<String>,
    pub policy: Option<String>,
    pub format: u64,
}

/// Limit on the segments of a volume.
const MAX_SEGMENTS: usize = 65_536;
/// Limit on the stripes of a segment (lvcreate(8), --stripes).
const MAX_STRIPES: usize = 128;

fn broken() -> String {
    "its metadata is broken".to_owned()
}

/// The segments in order, without gaps, or why they cannot be mapped.
pub(super) fn segments(
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
    let sectors = |name: &str| part.number(name)?.checked_mul(extent);
    let (start, length) = (sectors("start_extent"), sectors("extent_count"));
    let (start, length) = start.zip(length).ok_or_else(broken)?;
    start.checked_add(length).ok_or_else(broken)?;
    if length == 0 {
        return Err(broken());
    }
    let areas = |name: &str| areas(part.list(name), extent, physical);
    // Flags of the segment follow the type, such as `cache-pool+METADATA_FORMAT`.
    let kind = part.text("type").unwrap_or_default().split('+').next();
    let kind = match kind.unwrap_or_default() {
        // LVM writes a linear segment as striped with one stripe.
        "striped" | "linear" => striped(part, length, areas("stripes")?)?,
        "mirror" => SegmentKind::Mirror {
            legs: areas("mirrors")?,
        },
        raid if raid.starts_with("raid") => self::raid(part, raid)?,
        other => others(part, other)?,
    };
    Ok(Segment {
        start,
        length,
        kind,
    })
}

fn areas(list: &[Node], extent: u64, physical: &PhysicalVolumes) -> Result<Vec<Area>, String> {
    let mut areas = Vec::new();
    for pair in list.chunks(2) {
        let [Node::Text(name), Node::Number(first)] = pair else {
            return Err(broken());
        };
        let first = u64::try_from(*first).ok();
        let sector = first.and_then(|first| first.checked_mul(extent));
        let sector = sector.ok_or_else(broken)?;
        areas.push(match physical.get(&**name) {
            Some(volume) => {
                let sector = sector.checked_add(volume.first).ok_or_else(broken)?;
                Area::Physical(volume.id.to_owned(), sector)
            }
            None => Area::Logical(name.clone(), sector),
        });
        if areas.len() > MAX_STRIPES {
            return Err(broken());
        }
    }
    match areas.is_empty() {
        true => Err(broken()),
        false => Ok(areas),
    }
}

fn striped(part: &Node, length: u64, areas: Vec<Area>) -> Result<SegmentKind, String> {
    let chunk = match areas.len() as u64 {
        1 => 0,
        count => (part.number("stripe_size"))
            .filter(|chunk| *chunk > 0 && length.is_multiple_of(count))
            .ok_or_else(broken)?,
    };
    Ok(SegmentKind::Striped { chunk, areas })
}

/// The names of dm-raid's levels, where LVM has another one.
fn raid(part: &Node, kind: &str) -> Result<SegmentKind, String> {
    let level = match kind {
        "raid0" | "raid0_meta" => "raid0",
        "raid5" => "raid5_ls",
        "raid6" => "raid6_zr",
        "raid1" | "raid4" | "raid10" | "raid5_n" | "raid5_la" | "raid5_ra" | "raid5_ls"
        | "raid5_rs" | "raid6_zr" | "raid6_nr" | "raid6_nc" | "raid6_n_6" | "raid6_ls_6"
        | "raid6_rs_6" | "raid6_la_6" | "raid6_ra_6" => kind,
        _ => return Err(unsupported(kind)),
    };
    let name = |node: &Node| match node {
        Node::Text(name) => Ok(name.clone()),
        _ => Err(broken()),
    };
    let pairs = part.list("raids").chunks(2);
    let mut members: Vec<(Option<String>, String)> = pairs
        .map(|pair| match pair {
            [metadata, data] => Ok((Some(name(metadata)?), name(data)?)),
            _ => Err(broken()),
        })
        .collect::<Result<_, _>>()?;
    for data in part.list("raid0_lvs") {
        members.push((None, name(data)?));
    }
    if members.is_empty() || members.len() > MAX_STRIPES {
        return Err(broken());
    }
    Ok(SegmentKind::Raid {
        level: level.to_owned(),
        chunk: part.number("stripe_size").unwrap_or_default(),
        region: part.number("region_size").unwrap_or_default(),
        members,
    })
}

fn others(part: &Node, kind: &str) -> Result<SegmentKind, String> {
    let name = |key: &str| part.text(key).map(str::to_owned).ok_or_else(broken);
    let chunk = part.number("chunk_size").unwrap_or_default();
    let settings = || CacheSettings {
        chunk,
        mode: part.text("cache_mode").map(str::to_owned),
        policy: part.text("policy").map(str::to_owned),
        format: part.number("metadata_format").unwrap_or(1),
    };
    let range = |start: &str, length: &str| Some((part.number(start)?, part.number(length)?));
    Ok(match kind {
        "thin-pool" => SegmentKind::ThinPool {
            metadata: name("metadata")?,
            data: name("pool")?,
            chunk,
        },
        "thin" => SegmentKind::Thin {
            pool: name("thin_pool")?,
            device: part.number("device_id").ok_or_else(broken)?,
            external_origin: part.text("external_origin").map(str::to_owned),
        },
        "cache" => SegmentKind::Cache {
            origin: name("origin")?,
            pool: name("cache_pool")?,
            volume: range("metadata_start", "metadata_len")
                .zip(range("data_start", "data_len"))
                .map(|(metadata, data)| CacheVolume { metadata, data }),
            settings: settings(),
        },
        "cache-pool" => SegmentKind::CachePool {
            metadata: name("metadata")?,
            data: name("data")?,
            settings: settings(),
        },
        "snapshot" => SegmentKind::Snapshot {
            origin: name("origin")?,
            changes: name("cow_store")
                .map_err(|_| "it is being merged into its origin".to_owned())?,
            chunk,
        },
        other => return Err(unsupported(other)),
    })
}

fn unsupported(kind: &str) -> String {
    let kind: String = kind.chars().filter(|c| c.is_ascii_graphic()).collect();
    format!("segments of type {kind:.32} are not supported")
}
