//! The disks of the machine that the agent is in: what is on them, which of it is the root of an
//! operating system, and mounting that. Everything that an image holds is hostile: superblocks,
//! tables and texts are read by pure functions that allocate by no size they read, and files
//! of a mounted image are opened below its root only.
//!
//! In reading order: [`sysfs`] lists disks and partitions, [`blocks`] reads them, [`partitions`]
//! and [`superblock`] say what they are, [`lvm`] and [`raid`] make volumes of them, [`modules`]
//! loads drivers, [`mount`](self::mount) mounts, [`roots`] [`look`]s for systems by what is
//! [`inside`], and [`plan`] reads their [`fstab`]. [`jobs`] does all that for the host, and
//! [`console`] shows it where there is none.

pub mod blocks;
pub mod console;
pub mod fstab;
#[cfg(test)]
mod hostile_tests;
pub mod inside;
pub mod jobs;
pub mod look;
pub mod lvm;
pub mod modules;
pub mod mount;
pub mod partitions;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod raid;
pub mod roots;
pub mod superblock;
pub mod sysfs;
pub mod text;
pub mod volumes;

use std::collections::BTreeMap;

use crate::guest::wire::disks::{Content, Disk, Partition, Survey};
use modules::Modules;
use plan::Known;
use sysfs::Node;
use volumes::known_as;

/// A device with what is on it.
struct Found {
    node: Node,
    content: Option<Content>,
}

/// Looks at every disk, makes the volumes on them, and looks for operating systems. Devices
/// must be there: see [`sysfs::wait_for`].
pub fn survey(modules: &mut Modules) -> Survey {
    let mut survey = Survey::default();
    let mut found = Vec::new();
    let mut known = Vec::new();
    for (index, (node, parts)) in sysfs::disks().into_iter().enumerate() {
        let disk = disk(node, parts, &mut found, &mut survey.warnings);
        known.extend(known_of(&disk, index));
        survey.disks.push(disk);
    }
    volumes::arrays(&mut survey, &mut found, &mut known, modules);
    volumes::logical(&mut survey, &mut found, &mut known, modules);
    for device in found {
        if let Some(content) = device.content
            && content.kind == crate::guest::wire::disks::Kind::Luks
        {
            let name = device.node.device();
            survey.warnings.push(format!(
                "{name} is encrypted (LUKS), and was not looked into"
            ));
        }
    }
    let (roots, warnings) = roots::find(&known, modules);
    survey.roots = roots;
    survey.warnings.extend(warnings);
    survey
}

fn disk(node: Node, parts: Vec<Node>, found: &mut Vec<Found>, warnings: &mut Vec<String>) -> Disk {
    let device = node.open();
    let table = match &device {
        Ok(device) => partitions::read(device, node.sector),
        Err(error) => {
            warnings.push(format!("{}: {error}", node.device()));
            None
        }
    };
    let (table, mut entries) = match table {
        // A boot sector of a filesystem looks like a table too; the kernel knows better.
        Some((table, entries)) if !parts.is_empty() => (Some(table), entries),
        _ => (None, BTreeMap::new()),
    };
    let content = device.ok().and_then(|device| superblock::probe(&device));
    let partitions = parts.into_iter().map(|part| {
        let entry = entries.remove(&part.partition).unwrap_or_default();
        let content = look(&part, warnings);
        let partition = Partition {
            number: part.partition,
            device: part.device(),
            start: part.start,
            bytes: part.bytes,
            kind: entry.kind,
            label: entry.label,
            uuid: entry.uuid,
            content: content.clone(),
        };
        found.push(Found {
            node: part,
            content,
        });
        partition
    });
    let disk = Disk {
        device: node.device(),
        bytes: node.bytes,
        serial: node.serial.clone(),
        table,
        partitions: partitions.collect(),
        content: content.clone(),
    };
    if disk.partitions.is_empty() {
        found.push(Found { node, content });
    }
    disk
}

/// What is on a device.
fn look(node: &Node, warnings: &mut Vec<String>) -> Option<Content> {
    match node.open() {
        Ok(device) => superblock::probe(&device),
        Err(error) => {
            warnings.push(format!("{}: {error}", node.device()));
            None
        }
    }
}

/// What an fstab can name of a disk, which is the `index`th of the machine.
fn known_of(disk: &Disk, index: usize) -> Vec<Known> {
    let mut all = Vec::new();
    for partition in &disk.partitions {
        if let Some(content) = &partition.content {
            all.push(Known {
                part_uuid: partition.uuid.clone(),
                part_label: partition.label.clone(),
                ..known_as(
                    &partition.device,
                    content,
                    names(index, Some(partition.number)),
                )
            });
        }
    }
    if let Some(content) = &disk.content
        && disk.partitions.is_empty()
    {
        all.push(known_as(&disk.device, content, names(index, None)));
    }
    all
}

/// How systems on other buses call the `index`th disk, or a partition of it.
fn names(index: usize, partition: Option<u32>) -> Vec<String> {
    let Some(letter) = u8::try_from(index).ok().filter(|index| *index < 26) else {
        return vec![];
    };
    let letter = char::from(b'a' + letter);
    let number = partition.map_or(String::new(), |number| number.to_string());
    let behind_p = partition.map_or(String::new(), |number| format!("p{number}"));
    let mut names: Vec<_> = ["sd", "vd", "hd", "xvd"]
        .iter()
        .map(|bus| format!("/dev/{bus}{letter}{number}"))
        .collect();
    names.push(format!("/dev/nvme{index}n1{behind_p}"));
    names.push(format!("/dev/mmcblk{index}{behind_p}"));
    names
}
