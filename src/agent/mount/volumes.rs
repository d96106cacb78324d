//! Assembles the MD arrays whose members were found.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use super::array_names::{BY_NAME, BY_UUID};
use super::inventory::Inventory;
use super::modules::Modules;
use super::partitions;
use crate::block::raid::{self, Member};
use crate::protocol::disks::Kind;
use crate::protocol::warning::{Warning, WarningCode};
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
        if inventory.assembled.contains(&superblock.uuid()) {
            continue;
        }
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
        inventory.assembled.insert(array.superblock.uuid());
        let name = array.superblock.name();
        let assembled = assemble(&array, modules);
        let path = match &assembled {
            Ok(node) => format!("/dev/{node}"),
            Err(_) => format!("/dev/md/{name}"),
        };
        let aliases = aliases(&array.superblock, &name);
        inventory.add_volume(
            "md",
            &name,
            path.clone(),
            aliases.clone(),
            assembled.clone(),
        );
        if let Ok(node) = assembled {
            if let Some(reason) = degraded(&node) {
                inventory.warn(Warning::new(WarningCode::Degraded, &path, reason));
            }
            partitions::nested(inventory, "md", &name, &node, &aliases);
        }
    }
}

/// The links that udev makes, and the node itself for an array with a number for a name.
fn aliases(superblock: &Member, name: &str) -> Vec<String> {
    let mut aliases = vec![
        format!("/dev/md/{name}"),
        format!("{BY_UUID}{}", superblock.uuid()),
    ];
    if !superblock.label.is_empty() {
        aliases.push(format!("{BY_NAME}{}", superblock.label));
    }
    aliases
}

/// What an array lacks that works all the same.
fn degraded(node: &str) -> Option<String> {
    let number = |file: &str| {
        let text = fs::read_to_string(format!("/sys/block/{node}/md/{file}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let missing = number("degraded").filter(|missing| *missing > 0)?;
    let all = number("raid_disks").unwrap_or_default();
    Some(format!(
        "degraded: {missing} of its {all} devices are missing"
    ))
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
