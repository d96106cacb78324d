//! Maps the LVM volumes whose physical volumes were found, each after what it is made of.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::device_mapper::DeviceMapper;
use super::inventory::Inventory;
use super::modules::Modules;
use super::nested::{self, Holder};
use super::sysfs::BlockDevice;
use crate::block::lvm::group::{Group, LogicalVolume, mapper_name, parse};
use crate::block::lvm::label;
use crate::block::lvm::segment::SegmentKind;
use crate::block::lvm::table::{Reference, TableLine, linear, table};
use crate::protocol::disks::Kind;
use crate::protocol::warning::{Warning, WarningCode};

/// A thin volume on a cache on a RAID of linear volumes is six deep.
const MAX_DEPTH: usize = 16;

/// Maps the volumes of each group that was not mapped before: only of those whose physical volumes
/// are all here if `complete`.
pub(crate) fn map_logical_volumes(
    inventory: &mut Inventory,
    modules: &mut Modules,
    complete: bool,
) {
    let physical = physical_volumes(inventory);
    let mut groups = groups(&physical, inventory);
    groups.retain(|group| {
        let is_due = !complete || missing(group, &physical) == 0;
        is_due && inventory.assembled.insert(group.id.clone())
    });
    if groups.is_empty() {
        return;
    }
    let mapper = modules
        .load("dm")
        .and_then(|()| DeviceMapper::open())
        .map_err(|error| format!("cannot use the kernel's device-mapper: {error}"));
    for group in &groups {
        let mut mapping = Mapping {
            group,
            physical: &physical,
            mapper: mapper.as_ref().map_err(String::clone),
            modules,
            made: HashMap::new(),
            depth: 0,
        };
        let mut all_mapped = true;
        for volume in group.shown() {
            let mapped = mapping.shown(volume);
            all_mapped &= mapped.is_ok();
            let name = mapper_name(&group.name, &volume.name);
            inventory.add_volume(
                &group.name,
                &volume.name,
                format!("/dev/mapper/{name}"),
                aliases(group, volume),
                mapped.clone(),
            );
            if let (Ok(node), Ok(mapper)) = (mapped, &mapper) {
                let holder = Holder {
                    group: &group.name,
                    name: &volume.name,
                    mapper_name: &name,
                    node: &node,
                };
                nested::in_volume(inventory, mapper, &holder);
            }
        }
        warn_of_faults(group, &physical, all_mapped, inventory);
    }
}

/// The physical volumes by their identifiers, each once.
fn physical_volumes(inventory: &mut Inventory) -> Vec<(String, BlockDevice)> {
    let mut physical: Vec<(String, BlockDevice)> = Vec::new();
    let mut copies = Vec::new();
    for found in inventory.of_kind(Kind::Lvm) {
        let content = found.content.as_ref();
        let Some(id) = content.and_then(|content| content.uuid.clone()) else {
            continue;
        };
        match physical.iter().find(|(other, _)| *other == id) {
            Some((_, other)) => copies.push((found.device.path(), other.path())),
            None => physical.push((id, found.device.clone())),
        }
    }
    for (path, other) in copies {
        if inventory.assembled.insert(path.clone()) {
            let reason = format!("a copy of the physical volume {other}, not used");
            inventory.warn(Warning::new(WarningCode::Volume, &path, reason));
        }
    }
    physical
}

/// How many physical volumes of the group are not here.
fn missing(group: &Group, physical: &[(String, BlockDevice)]) -> usize {
    let is_here = |id: &&String| physical.iter().any(|(other, _)| other == *id);
    group.physical.iter().filter(|id| !is_here(id)).count()
}

/// Warns of what the warnings about the volumes do not say.
fn warn_of_faults(
    group: &Group,
    physical: &[(String, BlockDevice)],
    all_mapped: bool,
    inventory: &mut Inventory,
) {
    let (name, more) = (&group.name, group.more);
    let missing = missing(group, physical);
    if more > 0 {
        let reason = format!("too many LVM volumes in {name}, {more} were left out");
        inventory.warn(Warning::general(WarningCode::Volume, reason));
    }
    if missing > 0 && all_mapped {
        let all = group.physical.len();
        let reason = format!(
            "the LVM group {name} is degraded: {missing} of its {all} physical volumes are missing"
        );
        inventory.warn(Warning::general(WarningCode::Degraded, reason));
    }
}

/// The links that udev makes besides /dev/mapper.
fn aliases(group: &Group, volume: &LogicalVolume) -> Vec<String> {
    let name = mapper_name(&group.name, &volume.name);
    let id = format!("{}{}", group.id, volume.id).replace('-', "");
    vec![
        format!("/dev/{}/{}", group.name, volume.name),
        format!("/dev/disk/by-id/dm-name-{name}"),
        format!("/dev/disk/by-id/dm-uuid-LVM-{id}"),
    ]
}

/// The major and minor number of a device.
type Number = (u32, u32);

/// The mapping of one group.
struct Mapping<'a> {
    group: &'a Group,
    physical: &'a [(String, BlockDevice)],
    mapper: Result<&'a DeviceMapper, String>,
    modules: &'a mut Modules,
    /// The number of each device that was made, or why it could not be, by its name.
    made: HashMap<String, Result<Number, String>>,
    depth: usize,
}

impl Mapping<'_> {
    /// Makes a volume that users see, with the links that udev would make. Returns the kernel's
    /// name of it.
    fn shown(&mut self, volume: &LogicalVolume) -> Result<String, String> {
        let node = format!("dm-{}", self.volume(&volume.name)?.1);
        let directory = Path::new("/dev").join(&self.group.name);
        let name = mapper_name(&self.group.name, &volume.name);
        // Without these links the device can still be found by its number.
        let _ = symlink(format!("../{node}"), format!("/dev/mapper/{name}"));
        let _ = fs::create_dir(&directory);
        let _ = symlink(format!("../{node}"), directory.join(&volume.name));
        Ok(node)
    }

    /// Makes a volume, or what stands in front of it: a snapshot where it holds the changes of one,
    /// and a device that preserves the snapshots' view where it has some.
    fn volume(&mut self, name: &str) -> Result<Number, String> {
        let group = self.group;
        let volume = group
            .volume(name)
            .ok_or_else(|| format!("its part {name} is missing"))?;
        if let Some(snapshot) = group.snapshot(name) {
            return self.device(name, |mapping| mapping.table(snapshot), &volume.id);
        }
        if group.is_origin(name) {
            let origin = |mapping: &mut Self| {
                mapping.load("dm-snapshot")?;
                let below = mapping.reference(Reference::Origin(name))?;
                Ok(vec![TableLine {
                    start: 0,
                    length: volume.length(),
                    target: "snapshot-origin",
                    arguments: below,
                }])
            };
            return self.device(name, origin, &volume.id);
        }
        self.device(name, |mapping| mapping.table(volume), &volume.id)
    }

    fn table(&mut self, volume: &LogicalVolume) -> Result<Vec<TableLine>, String> {
        let group = match volume.kind() {
            Some(SegmentKind::ThinPool { .. } | SegmentKind::Thin { .. }) => Some("dm-thin"),
            Some(SegmentKind::Cache { .. }) => Some("dm-cache"),
            Some(SegmentKind::Raid { .. }) => Some("dm-raid"),
            Some(SegmentKind::Snapshot { .. }) => Some("dm-snapshot"),
            _ => None,
        };
        group.map_or(Ok(()), |group| self.load(group))?;
        let all = self.group;
        table(all, volume, &mut |reference| self.reference(reference))
    }

    fn load(&mut self, modules: &str) -> Result<(), String> {
        let loaded = self.modules.load(modules);
        loaded.map_err(|error| format!("cannot load the modules {modules}: {error}"))
    }

    /// The `MAJOR:MINOR` of a device, which is made if it is not there yet.
    fn reference(&mut self, reference: Reference<'_>) -> Result<String, String> {
        let group = self.group;
        let part = |name: &str| {
            let found = group.volume(name);
            found.ok_or_else(|| format!("its part {name} is missing"))
        };
        let (major, minor) = match reference {
            Reference::Physical(id) => {
                let found = self.physical.iter().find(|(other, _)| other == id);
                let found = found.map(|(_, device)| device.number.clone());
                return found.ok_or_else(|| format!("physical volume {id} is missing"));
            }
            Reference::Logical(name) => self.volume(name)?,
            Reference::Origin(name) => {
                let volume = part(name)?;
                let name = format!("{name}-real");
                self.device(
                    &name,
                    |mapping| mapping.table(volume),
                    &format!("{}-real", volume.id),
                )?
            }
            Reference::Changes(name) => {
                let volume = part(name)?;
                let name = format!("{name}-cow");
                self.device(
                    &name,
                    |mapping| mapping.table(volume),
                    &format!("{}-cow", volume.id),
                )?
            }
            Reference::Part(name, (start, length)) => {
                let below = self.reference(Reference::Logical(name))?;
                let id = format!("{}-{start}", part(name)?.id);
                let name = format!("{name}-{start}");
                self.device(&name, |_| Ok(vec![linear(&below, start, length)]), &id)?
            }
        };
        Ok(format!("{major}:{minor}"))
    }

    /// Makes the device called `name` in the group, unless that was tried before.
    fn device(
        &mut self,
        name: &str,
        table: impl FnOnce(&mut Self) -> Result<Vec<TableLine>, String>,
        id: &str,
    ) -> Result<Number, String> {
        if let Some(made) = self.made.get(name) {
            return made.clone();
        }
        if self.depth == MAX_DEPTH {
            return Err("it is made of itself, or of too many layers".to_owned());
        }
        self.depth += 1;
        let made = table(self).and_then(|table| {
            let name = mapper_name(&self.group.name, name);
            let id = format!("LVM-{}", format!("{}{id}", self.group.id).replace('-', ""));
            let made = self.mapper.clone()?.create(&name, &id, &table);
            made.map_err(|error| format!("the kernel refused its table: {error}"))
        });
        self.depth -= 1;
        self.made.insert(name.to_owned(), made.clone());
        made
    }
}

/// Every group once, by the newest of the copies on its physical volumes.
fn groups(physical: &[(String, BlockDevice)], inventory: &mut Inventory) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (_, device) in physical {
        let reader = device.open().ok();
        // A physical volume may have no copy of the metadata, or belong to no group yet.
        let Some(text) = reader.and_then(|reader| label::metadata(&reader)) else {
            continue;
        };
        let path = device.path();
        let Some(group) = parse(&text) else {
            if inventory.assembled.insert(path.clone()) {
                let reason = "its LVM metadata is broken";
                inventory.warn(Warning::new(WarningCode::Volume, &path, reason));
            }
            continue;
        };
        match groups.iter_mut().find(|other| other.id == group.id) {
            Some(other) if other.sequence >= group.sequence => {}
            Some(other) => *other = group,
            None => groups.push(group),
        }
    }
    groups
}
