//! The survey of the machine's disks: partitions, volumes, filesystems, and the operating systems
//! on them.

use std::collections::BTreeMap;

use super::super::block::{partitions, superblock};
use super::inventory::{FoundDevice, Inventory};
use super::modules::Modules;
use super::plan::BlockId;
use super::sysfs::{self, BlockDevice};
use super::{roots, volumes};
use crate::protocol::disks::{Disk, Kind, Partition, Survey};

/// Surveys every disk, assembles the volumes on them, and looks for operating systems. The
/// devices must have appeared: see [`sysfs::wait_for`].
pub(crate) fn survey(modules: &mut Modules) -> Survey {
    let mut inventory = Inventory::default();
    for (index, (device, parts)) in sysfs::disks().into_iter().enumerate() {
        let disk = disk(device, parts, &mut inventory);
        inventory.ids.extend(ids(&disk, index));
        inventory.survey.disks.push(disk);
    }
    // Physical volumes of LVM may be on arrays, so these come first.
    volumes::assemble_arrays(&mut inventory, modules);
    volumes::map_logical_volumes(&mut inventory, modules);
    let encrypted: Vec<_> = inventory
        .of_kind(Kind::Luks)
        .map(|found| found.device.path())
        .collect();
    for path in encrypted {
        inventory.warn(format!("{path} is encrypted (LUKS) and was skipped"));
    }
    let (roots, warnings) = roots::find(&inventory.ids, modules);
    let mut survey = inventory.survey;
    survey.roots = roots;
    survey.warnings.extend(warnings);
    survey
}

fn disk(device: BlockDevice, parts: Vec<BlockDevice>, inventory: &mut Inventory) -> Disk {
    let reader = device.open();
    let table = match &reader {
        Ok(reader) => partitions::read(reader, device.sector),
        Err(error) => {
            inventory.warn(format!("{}: {error}", device.path()));
            None
        }
    };
    let (table, mut entries) = match table {
        // The boot sector of a filesystem can look like a table. The kernel's view decides.
        Some((table, entries)) if !parts.is_empty() => (Some(table), entries),
        _ => (None, BTreeMap::new()),
    };
    let content = reader.ok().and_then(|reader| superblock::probe(&reader));
    let mut partitions = Vec::new();
    for part in parts {
        let entry = entries.remove(&part.partition).unwrap_or_default();
        let content = inventory.probe(&part);
        partitions.push(Partition {
            number: part.partition,
            device: part.path(),
            start: part.start,
            bytes: part.bytes,
            kind: entry.kind,
            label: entry.label,
            uuid: entry.uuid,
            content: content.clone(),
        });
        inventory.devices.push(FoundDevice {
            device: part,
            content,
        });
    }
    let disk = Disk {
        device: device.path(),
        bytes: device.bytes,
        serial: device.serial.clone(),
        table,
        partitions,
        content: content.clone(),
    };
    if disk.partitions.is_empty() {
        inventory.devices.push(FoundDevice { device, content });
    }
    disk
}

/// The identifiers of a disk, which is the `index`th of the machine, and of its partitions.
fn ids(disk: &Disk, index: usize) -> Vec<BlockId> {
    let mut ids = Vec::new();
    for partition in &disk.partitions {
        if let Some(content) = &partition.content {
            let paths = paths(index, Some(partition.number));
            ids.push(BlockId {
                part_uuid: partition.uuid.clone(),
                part_label: partition.label.clone(),
                ..BlockId::new(&partition.device, content, paths)
            });
        }
    }
    if let Some(content) = &disk.content
        && disk.partitions.is_empty()
    {
        ids.push(BlockId::new(&disk.device, content, paths(index, None)));
    }
    ids
}

/// What systems on other buses call the `index`th disk, or a partition of it.
fn paths(index: usize, partition: Option<u32>) -> Vec<String> {
    let Some(letter) = u8::try_from(index).ok().filter(|index| *index < 26) else {
        return vec![];
    };
    let letter = char::from(b'a' + letter);
    let number = partition.map_or(String::new(), |number| number.to_string());
    let after_p = partition.map_or(String::new(), |number| format!("p{number}"));
    let mut paths: Vec<_> = ["sd", "vd", "hd", "xvd"]
        .iter()
        .map(|bus| format!("/dev/{bus}{letter}{number}"))
        .collect();
    paths.push(format!("/dev/nvme{index}n1{after_p}"));
    paths.push(format!("/dev/mmcblk{index}{after_p}"));
    paths
}
