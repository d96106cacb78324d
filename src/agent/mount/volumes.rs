//! Assembles the MD arrays whose members were found.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use super::inventory::Inventory;
use super::modules::Modules;
use super::partitions;
use crate::block::raid::{self, Member};
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
        inventory.add_volume("md", &name, path, vec![alias], assembled.clone());
        if let Ok(node) = assembled {
            partitions::nested(inventory, "md", &name, &node);
        }
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
