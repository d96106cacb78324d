//! The survey of the machine's disks: partitions, volumes, filesystems, and the operating systems
//! on them.

use super::inventory::{FoundDevice, Inventory};
use super::modules::Modules;
use super::plan::BlockId;
use super::sysfs::{self, BlockDevice};
use super::{logical_volumes, nested, partitions, roots, volumes};
use crate::block::device_reader::ReadAt;
use crate::block::superblock;
use crate::block::tables::{self, Entry, Table};
use crate::protocol::disks::{self, Disk, Kind, Partition, Role, Survey};

/// Surveys every disk, assembles the volumes on them, and looks for operating systems. The
/// devices must have appeared: see [`sysfs::wait_for`].
pub(crate) fn survey(modules: &mut Modules) -> Survey {
    let mut inventory = Inventory::default();
    for (index, device) in sysfs::disks().into_iter().enumerate() {
        let disk = disk(device, &mut inventory);
        inventory.ids.extend(ids(&disk, index));
        inventory.survey.disks.push(disk);
    }
    // Physical volumes of LVM may be on arrays, so these come first.
    volumes::assemble_arrays(&mut inventory, modules);
    nested::in_partitions(&mut inventory, modules);
    logical_volumes::map_logical_volumes(&mut inventory, modules);
    warn_of_unread(&mut inventory);
    let (roots, warnings) = roots::find(&inventory.ids, modules);
    let mut survey = inventory.survey;
    survey.roots = roots;
    survey.warnings.extend(warnings);
    survey
}

/// Names what is there and cannot be read, so that nobody takes it for empty.
fn warn_of_unread(inventory: &mut Inventory) {
    let mut warnings = Vec::new();
    for found in &inventory.devices {
        let Some(content) = &found.content else {
            continue;
        };
        let path = found.device.path();
        warnings.push(match (content.kind, content.kind.role()) {
            (Kind::Luks, _) => format!("{path} is encrypted (LUKS) and was skipped"),
            (Kind::Bitlocker, _) => format!("{path} is encrypted (BitLocker) and was skipped"),
            (Kind::Swsuspend, _) => format!(
                "{path} holds a hibernated system: its filesystems may be older than what it knows"
            ),
            (Kind::Lvm | Kind::Md, _) | (_, Role::Filesystem | Role::Swap) => continue,
            (kind, Role::Member) => format!("{path} holds {} and was skipped", kind.name()),
        });
    }
    warnings
        .into_iter()
        .for_each(|warning| inventory.warn(warning));
}

fn disk(device: BlockDevice, inventory: &mut Inventory) -> Disk {
    let path = device.path();
    let (content, table) = match device.open() {
        Ok(reader) => {
            let content = superblock::probe(&reader);
            (content.clone(), table(&device, &reader, content.is_some()))
        }
        Err(error) => {
            inventory.warn(format!("{path}: {error}"));
            (None, None)
        }
    };
    let partitions = match &table {
        Some(table) => {
            let warnings = table.warnings.iter();
            warnings.for_each(|warning| inventory.warn(format!("{path}: {warning}")));
            partitions_of(&device, table, inventory)
        }
        // What the kernel found in a table that is not known here.
        None => sysfs::partitions(&device)
            .into_iter()
            .map(|part| partition(&device, &Entry::of(&part), Some(part), inventory))
            .collect(),
    };
    let disk = Disk {
        device: path,
        bytes: device.bytes,
        serial: device.serial.clone(),
        table: table.map(|table| disks::Table {
            kind: table.kind,
            id: table.id,
            evidence: table.evidence,
        }),
        partitions,
        content: content.clone(),
    };
    if disk.partitions.is_empty() {
        inventory.devices.push(FoundDevice { device, content });
    }
    disk
}

fn table(device: &BlockDevice, reader: &dyn ReadAt, has_content: bool) -> Option<Table> {
    if device.is_optical() {
        return None;
    }
    tables::read(reader, device.sector, has_content)
}

/// The partitions of a table, each with its node if it could be made.
fn partitions_of(device: &BlockDevice, table: &Table, inventory: &mut Inventory) -> Vec<Partition> {
    let (mut nodes, warnings) = partitions::apply(device, table);
    warnings
        .into_iter()
        .for_each(|warning| inventory.warn(warning));
    let mut partitions = Vec::new();
    for entry in &table.partitions {
        let node = nodes.iter().position(|node| node.partition == entry.number);
        let node = node.map(|index| nodes.swap_remove(index));
        partitions.push(partition(device, entry, node, inventory));
    }
    partitions
}

fn partition(
    disk: &BlockDevice,
    entry: &Entry,
    node: Option<BlockDevice>,
    inventory: &mut Inventory,
) -> Partition {
    let content = match &node {
        Some(node) if !entry.is_container => inventory.probe(node),
        _ => None,
    };
    if let Some(device) = node {
        let content = content.clone();
        inventory.devices.push(FoundDevice { device, content });
    }
    Partition {
        number: entry.number,
        device: disk.partition_path(entry.number),
        start: entry.start,
        bytes: entry.bytes,
        kind: entry.kind.clone(),
        label: entry.label.clone(),
        uuid: entry.uuid.clone(),
        content,
    }
}

impl Entry {
    /// A partition of which only the kernel knows.
    fn of(part: &BlockDevice) -> Self {
        Self {
            number: part.partition,
            start: part.start,
            bytes: part.bytes,
            ..Self::default()
        }
    }
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
                partition: Some(partition.number),
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
