//! Tables of the kernel's device-mapper (Documentation/admin-guide/device-mapper) for logical
//! volumes.

use super::group::{Group, LogicalVolume};
use super::segment::{Area, CacheSettings, CacheVolume, SegmentKind};

/// One line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableLine {
    /// In sectors, as is the length.
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) target: &'static str,
    pub(crate) arguments: String,
}

/// A device that a line refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    /// A physical volume, by its identifier.
    Physical(&'a str),
    /// A logical volume of the group.
    Logical(&'a str),
    /// What is below a logical volume that has snapshots.
    Origin(&'a str),
    /// What a snapshot keeps, below the snapshot of that name.
    Changes(&'a str),
    /// A part of a logical volume, in sectors: offset and length.
    Part(&'a str, (u64, u64)),
}

/// Gives the `MAJOR:MINOR` of a device, or why there is none.
pub(crate) type Resolve<'a> = &'a mut dyn FnMut(Reference<'_>) -> Result<String, String>;

/// The table of `volume`.
pub(crate) fn table(
    group: &Group,
    volume: &LogicalVolume,
    resolve: Resolve,
) -> Result<Vec<TableLine>, String> {
    let segments = volume.segments.as_ref().map_err(String::clone)?;
    let mut lines = Vec::with_capacity(segments.len());
    for segment in segments {
        let (target, arguments) = target(group, &segment.kind, resolve)?;
        lines.push(TableLine {
            start: segment.start,
            length: segment.length,
            target,
            arguments,
        });
    }
    Ok(lines)
}

/// One line that covers `length` sectors of `device` from `start` on.
pub(crate) fn linear(device: &str, start: u64, length: u64) -> TableLine {
    TableLine {
        start: 0,
        length,
        target: "linear",
        arguments: format!("{device} {start}"),
    }
}

fn target(
    group: &Group,
    kind: &SegmentKind,
    resolve: Resolve,
) -> Result<(&'static str, String), String> {
    Ok(match kind {
        SegmentKind::Striped { chunk, areas } => {
            let mut places = Vec::with_capacity(areas.len());
            for area in areas {
                places.push(place(area, resolve)?);
            }
            match &places[..] {
                [one] => ("linear", one.clone()),
                _ => (
                    "striped",
                    format!("{} {chunk} {}", places.len(), places.join(" ")),
                ),
            }
        }
        SegmentKind::Mirror { legs } => {
            // Reading needs one leg. A later one may be stale, so an earlier one is better.
            let mut reason = "it has no legs".to_owned();
            for leg in legs {
                match place(leg, resolve) {
                    Ok(place) => return Ok(("linear", place)),
                    Err(error) => reason = error,
                }
            }
            return Err(reason);
        }
        SegmentKind::Raid { .. } => ("raid", raid(kind, resolve)?),
        SegmentKind::ThinPool {
            metadata,
            data,
            chunk,
        } => {
            let metadata = resolve(Reference::Logical(metadata))?;
            let data = resolve(Reference::Logical(data))?;
            // Without zeroing of new blocks: whatever is written goes to an overlay.
            (
                "thin-pool",
                format!("{metadata} {data} {chunk} 0 1 skip_block_zeroing"),
            )
        }
        SegmentKind::Thin {
            pool,
            device,
            external_origin,
        } => {
            let pool = resolve(Reference::Logical(pool))?;
            let origin = match external_origin {
                Some(origin) => format!(" {}", resolve(Reference::Logical(origin))?),
                None => String::new(),
            };
            ("thin", format!("{pool} {device}{origin}"))
        }
        SegmentKind::Cache { .. } => ("cache", cache(group, kind, resolve)?),
        // Not a device of its own: a volume that is cached has its parts.
        SegmentKind::CachePool { .. } => return Err("it is a cache".to_owned()),
        SegmentKind::Snapshot {
            origin,
            changes,
            chunk,
        } => {
            let origin = resolve(Reference::Origin(origin))?;
            let changes = resolve(Reference::Changes(changes))?;
            ("snapshot", format!("{origin} {changes} P {chunk}"))
        }
    })
}

fn place(area: &Area, resolve: Resolve) -> Result<String, String> {
    let (device, sector) = match area {
        Area::Physical(id, sector) => (resolve(Reference::Physical(id))?, sector),
        Area::Logical(name, sector) => (resolve(Reference::Logical(name))?, sector),
    };
    Ok(format!("{device} {sector}"))
}

fn cache(group: &Group, kind: &SegmentKind, resolve: Resolve) -> Result<String, String> {
    let SegmentKind::Cache {
        origin,
        pool,
        volume,
        settings,
    } = kind
    else {
        return Err(String::new());
    };
    let origin = resolve(Reference::Logical(origin))?;
    let (metadata, data, settings) = match volume {
        Some(CacheVolume { metadata, data }) => (
            resolve(Reference::Part(pool, *metadata))?,
            resolve(Reference::Part(pool, *data))?,
            settings,
        ),
        None => {
            let (metadata, data, settings) = cache_pool(group, pool)?;
            let metadata = resolve(Reference::Logical(metadata))?;
            (metadata, resolve(Reference::Logical(data))?, settings)
        }
    };
    let settings = arguments(settings);
    Ok(format!("{metadata} {data} {origin} {settings}"))
}

/// The metadata, the data and the settings of a cache pool.
fn cache_pool<'a>(
    group: &'a Group,
    name: &str,
) -> Result<(&'a str, &'a str, &'a CacheSettings), String> {
    let pool = group
        .volume(name)
        .and_then(|pool| pool.segments.as_ref().ok());
    match pool.and_then(|segments| Some(&segments.first()?.kind)) {
        Some(SegmentKind::CachePool {
            metadata,
            data,
            settings,
        }) => Ok((metadata, data, settings)),
        _ => Err(format!("its cache {name} is not described")),
    }
}

/// What follows the three devices of a cache.
fn arguments(settings: &CacheSettings) -> String {
    let modes = ["writethrough", "writeback", "passthrough"];
    let mode = settings.mode.as_deref().filter(|mode| modes.contains(mode));
    // LVM's default.
    let mode = mode.unwrap_or(modes[0]);
    let features = match settings.format {
        2 => format!("2 metadata2 {mode}"),
        _ => format!("1 {mode}"),
    };
    let policy = match settings.policy.as_deref() {
        Some("cleaner") => "cleaner",
        // `mq` is another name for it.
        _ => "smq",
    };
    format!("{} {features} {policy} 0", settings.chunk)
}

/// Pairs of metadata and data; a member that is missing is two dashes, which the kernel takes for
/// a failed one.
fn raid(kind: &SegmentKind, resolve: Resolve) -> Result<String, String> {
    let SegmentKind::Raid {
        level,
        chunk,
        region,
        members,
    } = kind
    else {
        return Err(String::new());
    };
    let mut parameters = vec![chunk.to_string()];
    if *region > 0 && level != "raid0" {
        parameters.extend(["region_size".to_owned(), region.to_string()]);
    }
    let mut devices = Vec::with_capacity(members.len());
    let mut missing = None;
    for (metadata, data) in members {
        let data = resolve(Reference::Logical(data));
        let metadata = metadata
            .as_ref()
            .map(|name| resolve(Reference::Logical(name)));
        devices.push(match (metadata, data) {
            (Some(Ok(metadata)), Ok(data)) => format!("{metadata} {data}"),
            (None, Ok(data)) => format!("- {data}"),
            (Some(Err(reason)), _) | (_, Err(reason)) => {
                missing = Some(reason);
                "- -".to_owned()
            }
        });
    }
    match missing {
        Some(reason) if level == "raid0" || devices.iter().all(|one| one == "- -") => Err(reason),
        _ => Ok(format!(
            "{level} {} {} {} {}",
            parameters.len(),
            parameters.join(" "),
            devices.len(),
            devices.join(" ")
        )),
    }
}
