//! Assembles the MD arrays and LVM volumes whose members were found.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::block::lvm::group::{Group, LogicalVolume, TableLine, line, mapper_name, parse};
use super::super::block::lvm::label;
use super::super::block::raid::{self, Member};
use super::device_mapper::DeviceMapper;
use super::inventory::Inventory;
use super::modules::Modules;
use super::sysfs::BlockDevice;
use crate::protocol::disks::Kind;
use crate::sys::assemble_array;

/// An MD array: the superblock of one of its members, and `MAJOR:MINOR` of each member.
struct Array {
    superblock: Member,
    members: Vec<String>,
}

pub(crate) fn assemble_arrays(inventory: &mut Inventory, modules: &mut Modules) {
    let mut arrays: Vec<Array> = Vec::new();
    for found in inventory.of_kind(Kind::Md) {
        let reader = found.device.open().ok();
        let Some(superblock) = reader.and_then(|reader| raid::member(&reader)) else {
            continue;
        };
        let number = found.device.number.clone();
        let same = |array: &&mut Array| array.superblock.id == superblock.id;
        match arrays.iter_mut().find(same) {
            Some(array) => array.members.push(number),
            None => arrays.push(Array {
                superblock,
                members: vec![number],
            }),
        }
    }
    for array in arrays {
        let name = array.superblock.name();
        let assembled = assemble(&array, modules);
        let alias = format!("/dev/md/{name}");
        let path = match &assembled {
            Ok(node) => format!("/dev/{node}"),
            Err(_) => alias.clone(),
        };
        inventory.add_volume("md", &name, path, alias, assembled);
    }
}

/// Has the kernel assemble an array, degraded if members are missing. Returns the kernel's name
/// of it.
fn assemble(array: &Array, modules: &mut Modules) -> Result<String, String> {
    let group = match array.superblock.level {
        0 | -1 => "raid0",
        1 | 10 => "raid1",
        4..=6 => "raid456",
        level => return Err(format!("arrays of level {level} are not supported")),
    };
    modules
        .load(group)
        .map_err(|error| format!("cannot load the module of its RAID level: {error}"))?;
    let name = free_name(&array.superblock.name());
    // The array must be created before its node can be opened (md.c, add_named_array).
    let device = fs::write("/sys/module/md_mod/parameters/new_array", &name)
        .and_then(|()| {
            let node = format!("/dev/{name}");
            File::options().read(true).write(true).open(node)
        })
        .map_err(|error| format!("the kernel did not create array {name}: {error}"))?;
    let members = array.members.iter().filter_map(|number| {
        let (major, minor) = number.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    let (version, members) = (array.superblock.version, members.collect::<Vec<_>>());
    assemble_array(device.as_fd(), version, &members)
        .map_err(|error| format!("the kernel did not assemble it: {error}"))?;
    Ok(name)
}

/// `md0` for an array called 0, else as mdadm does: the first free one from `md127` down.
fn free_name(array: &str) -> String {
    let own = array.parse::<u8>().ok();
    let numbers = own.into_iter().chain((0..=127).rev());
    let mut names = numbers.map(|number| format!("md{number}"));
    let is_free = |name: &String| !Path::new("/sys/block").join(name).exists();
    names.find(is_free).unwrap_or_else(|| "md127".into())
}

pub(crate) fn map_logical_volumes(inventory: &mut Inventory, modules: &mut Modules) {
    let physical: Vec<_> = inventory
        .of_kind(Kind::Lvm)
        .filter_map(|found| {
            let id = found.content.as_ref()?.uuid.clone()?;
            Some((id, found.device.clone()))
        })
        .collect();
    let groups = groups(&physical, inventory);
    if groups.is_empty() {
        return;
    }
    let mapper = modules
        .load("dm")
        .and_then(|()| DeviceMapper::open())
        .map_err(|error| format!("cannot use the kernel's device-mapper: {error}"));
    let number = |id: &str| {
        let found = physical.iter().find(|(other, _)| other == id);
        found.map(|(_, device)| device.number.clone())
    };
    for group in &groups {
        for volume in &group.volumes {
            let mapped =
                table(volume, number).and_then(|table| map(mapper.as_ref(), group, volume, &table));
            let path = format!("/dev/mapper/{}", mapper_name(&group.name, &volume.name));
            let alias = format!("/dev/{}/{}", group.name, volume.name);
            inventory.add_volume(&group.name, &volume.name, path, alias, mapped);
        }
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
            inventory.warn(format!("{path}: its LVM metadata is broken"));
            continue;
        };
        if group.more > 0 {
            let more = group.more;
            inventory.warn(format!(
                "{path}: too many LVM volumes, {more} were left out"
            ));
        }
        match groups.iter_mut().find(|other| other.id == group.id) {
            Some(other) if other.sequence >= group.sequence => {}
            Some(other) => *other = group,
            None => groups.push(group),
        }
    }
    groups
}

fn table(
    volume: &LogicalVolume,
    number: impl Fn(&str) -> Option<String>,
) -> Result<Vec<TableLine>, String> {
    let segments = volume.segments.as_ref().map_err(String::clone)?;
    let lines = segments.iter().map(|segment| line(segment, &number));
    let lines: Result<_, _> = lines.collect();
    lines.map_err(|id| format!("physical volume {id} is missing"))
}

/// Creates the device, with the links that udev would make. Returns the kernel's name of it.
fn map(
    mapper: Result<&DeviceMapper, &String>,
    group: &Group,
    volume: &LogicalVolume,
    table: &[TableLine],
) -> Result<String, String> {
    let mapper = mapper.map_err(String::clone)?;
    let name = mapper_name(&group.name, &volume.name);
    let id = format!("{}{}", group.id, volume.id).replace('-', "");
    let minor = mapper
        .create(&name, &format!("LVM-{id}"), table)
        .map_err(|error| format!("the kernel refused its table: {error}"))?;
    let node = format!("dm-{minor}");
    let directory = Path::new("/dev").join(&group.name);
    // Without these links the device can still be found by its number.
    let _ = symlink(format!("../{node}"), format!("/dev/mapper/{name}"));
    let _ = fs::create_dir(&directory);
    let _ = symlink(format!("../{node}"), directory.join(&volume.name));
    Ok(node)
}
