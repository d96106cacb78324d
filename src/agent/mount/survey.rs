//! The survey of the machine's disks: partitions, volumes, filesystems, and the operating systems
//! on them.

use super::inventory::{FoundDevice, Inventory};
use super::modules::Modules;
use super::plan::BlockId;
use super::sysfs::{self, BlockDevice};
use super::{btrfs_devices, logical_volumes, nested, partitions, roots, volumes};
use crate::block::device_reader::ReadAt;
use crate::block::tables::{self, Entry, Table};
use crate::block::{raid, superblock};
use crate::protocol::disks::{self, Content, Disk, Kind, Partition, Role, Survey};
use crate::protocol::warning::{Warning, WarningCode};

/// How many volumes may be on one another.
const MAX_LAYERS: usize = 8;

/// Surveys every disk, assembles the volumes on them, and looks for operating systems. The
/// devices must have appeared: see [`sysfs::wait_for`].
pub(crate) fn survey(modules: &mut Modules) -> Survey {
    let mut inventory = begin(modules);
    assemble(&mut inventory, modules, false);
    finish(inventory, modules)
}

/// Surveys the disks and their partitions.
pub(crate) fn begin(modules: &mut Modules) -> Inventory {
    let mut inventory = Inventory::default();
    for (index, device) in sysfs::disks().into_iter().enumerate() {
        let disk = disk(device, &mut inventory);
        inventory.ids.extend(ids(&disk, index));
        inventory.survey.disks.push(disk);
    }
    nested::in_partitions(&mut inventory, modules);
    inventory
}

/// Looks for operating systems when nothing else can be assembled.
pub(crate) fn finish(mut inventory: Inventory, modules: &mut Modules) -> Survey {
    warn_of_unread(&mut inventory);
    btrfs_devices::scan(&inventory.ids, modules, &mut inventory.survey);
    let (roots, warnings) = roots::find(&inventory.ids, modules);
    let mut survey = inventory.survey;
    survey.roots = roots;
    survey.warnings.extend(warnings);
    survey
}

/// Assembles arrays and volumes, then those that are on them. What lacks a device has its turn when
/// nothing else can be assembled: the device may be one of those. It has none if `only_complete`.
pub(crate) fn assemble(inventory: &mut Inventory, modules: &mut Modules, only_complete: bool) {
    for _ in 0..MAX_LAYERS {
        for complete in [true, false] {
            let before = inventory.devices.len();
            volumes::assemble_arrays(inventory, modules);
            logical_volumes::map_logical_volumes(inventory, modules, complete);
            if inventory.devices.len() > before {
                break;
            }
            if !complete || only_complete {
                return;
            }
        }
    }
}

/// Names what is there and cannot be read, so that nobody takes it for empty.
fn warn_of_unread(inventory: &mut Inventory) {
    use WarningCode::{Encrypted, Hibernated, Unsupported};
    let mut warnings = Vec::new();
    for found in &inventory.devices {
        let Some(content) = &found.content else {
            continue;
        };
        let path = found.path.clone();
        let (code, reason) = match (content.kind, content.kind.role()) {
            (Kind::Luks | Kind::Bitlocker, _) if inventory.assembled.contains(&path) => continue,
            (kind @ (Kind::Luks | Kind::Bitlocker), _) => {
                let (name, key) = match kind {
                    Kind::Luks => ("LUKS", "--key gives its passphrase"),
                    _ => ("BitLocker", "--key gives its password or recovery password"),
                };
                let why = inventory.locked.get(&path);
                let why = why.map_or(key, |why| why);
                (Encrypted, format!("encrypted ({name}), not opened: {why}"))
            }
            (Kind::Swsuspend, _) => {
                let reason = "a hibernated system: filesystems may be older than what it knows";
                (Hibernated, reason.to_owned())
            }
            (Kind::Lvm | Kind::Md, _) | (_, Role::Filesystem | Role::Swap) => continue,
            (kind, Role::Member) => (Unsupported, format!("{}, not opened", kind.name())),
        };
        warnings.push(Warning::new(code, &path, reason));
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
            let table = table(&device, &reader, content.is_some());
            let found = array_or_table(&device, &reader, content, table);
            inventory.keep_open(reader);
            found
        }
        Err(error) => {
            inventory.warn(Warning::new(WarningCode::Disk, &path, error.to_string()));
            (None, None)
        }
    };
    let partitions = match &table {
        Some(table) => {
            let warnings = table.warnings.iter();
            warnings.for_each(|fault| {
                inventory.warn(Warning::new(WarningCode::PartitionTable, &path, fault));
            });
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
        if disk.content.is_none() && disk.table.is_none() {
            inventory.warn_of_unknown(&device);
        }
        inventory.devices.push(FoundDevice {
            path: device.path(),
            device,
            content,
        });
    }
    disk
}

fn table(device: &BlockDevice, reader: &dyn ReadAt, has_content: bool) -> Option<Table> {
    if device.is_optical() {
        return None;
    }
    tables::read(reader, device.sector, has_content)
}

/// A disk that is a member of an array may show the table that is on the array, and a partition at the
/// end of a disk makes the disk look like a member.
fn array_or_table(
    device: &BlockDevice,
    reader: &dyn ReadAt,
    content: Option<Content>,
    table: Option<Table>,
) -> (Option<Content>, Option<Table>) {
    let is_member = content.as_ref().is_some_and(|one| one.kind == Kind::Md);
    let Some(mut table) = table else {
        return (content, None);
    };
    let member = is_member.then(|| raid::member(reader)).flatten();
    match member {
        Some(member) if member.holds_table(&table.partitions) => {
            table.partitions.clear();
            // The kernel made partitions of it.
            partitions::apply(device, &table);
            (content, None)
        }
        Some(member) if member.is_of_partition(&table.partitions) => (None, Some(table)),
        _ => (content, Some(table)),
    }
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
    if let (Some(node), None) = (&node, &content)
        && !entry.is_container
        && !entry.kind.as_deref().is_some_and(holds_no_filesystem)
        // One that begins with the disk begins with its table.
        && entry.start > 0
        && !nested::has_table(node)
    {
        inventory.warn_of_unknown(node);
    }
    if let Some(device) = node {
        let content = content.clone();
        inventory.devices.push(FoundDevice {
            path: device.path(),
            device,
            content,
        });
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

/// Types of partitions that boot loaders use without a filesystem, or nobody does.
fn holds_no_filesystem(kind: &str) -> bool {
    let kinds = [
        // BIOS boot, PReP boot, Microsoft reserved, Linux reserved, ChromeOS kernel.
        "21686148-6449-6e6f-744e-656564454649",
        "9e1a2d38-c612-4316-aa26-8b49521e5a8b",
        "e3c9e316-0b5c-4db8-817d-f92df00215ae",
        "8da63339-0007-60c0-c436-083ac8230908",
        "fe3a2a5d-4f32-41a7-b725-accc3285a309",
        "0x41",
        "Apple_partition_map",
        "Apple_Free",
    ];
    kinds.contains(&kind)
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
            let paths = paths(disk, index, Some(partition.number));
            ids.push(BlockId {
                part_uuid: partition.uuid.clone(),
                part_label: partition.label.clone(),
                partition: Some(partition.number),
                disk: Some(disk.device.clone()),
                part_kind: partition.kind.clone(),
                ..BlockId::new(&partition.device, content, paths)
            });
        }
    }
    if let Some(content) = &disk.content
        && disk.partitions.is_empty()
    {
        ids.push(BlockId {
            is_disk: true,
            ..BlockId::new(&disk.device, content, paths(disk, index, None))
        });
    }
    ids
}

/// What systems on other buses call the disk, which is the `index`th, or a partition of it; and its
/// name by the serial number (60-persistent-storage.rules).
fn paths(disk: &Disk, index: usize, partition: Option<u32>) -> Vec<String> {
    let mut paths = Vec::new();
    if let Some(serial) = &disk.serial {
        let part = partition.map_or(String::new(), |number| format!("-part{number}"));
        paths.push(format!("/dev/disk/by-id/virtio-{serial}{part}"));
    }
    let Some(letter) = u8::try_from(index).ok().filter(|index| *index < 26) else {
        return paths;
    };
    let letter = char::from(b'a' + letter);
    let number = partition.map_or(String::new(), |number| number.to_string());
    let after_p = partition.map_or(String::new(), |number| format!("p{number}"));
    let buses = ["sd", "vd", "hd", "xvd"].iter();
    paths.extend(buses.map(|bus| format!("/dev/{bus}{letter}{number}")));
    paths.push(format!("/dev/nvme{index}n1{after_p}"));
    paths.push(format!("/dev/mmcblk{index}{after_p}"));
    paths
}
