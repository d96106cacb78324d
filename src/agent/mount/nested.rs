//! Partitions inside of logical volumes and of partitions: disks of virtual machines, mostly. The
//! kernel does not look for them there, so they are mapped by device-mapper, as kpartx(8) does.

use std::os::unix::fs::symlink;

use super::device_mapper::DeviceMapper;
use super::inventory::Inventory;
use super::modules::Modules;
use super::sysfs::{self, BlockDevice};
use crate::block::lvm::table::linear;
use crate::block::tables::{self, Entry, Table};
use crate::protocol::disks::TableKind;
use crate::protocol::warning::{Warning, WarningCode};

/// The group of partitions in partitions, as volumes.
const GROUP: &str = "part";

/// What is seen of an extended partition: it begins with a table that is a part of another.
const EXTENDED: u64 = 1024;

/// A device that may hold a partition table.
pub(crate) struct Holder<'a> {
    /// The group of its partitions, and the name in front of their numbers.
    pub(crate) group: &'a str,
    pub(crate) name: &'a str,
    /// Its name below /dev/mapper.
    pub(crate) mapper_name: &'a str,
    /// The kernel's name, such as `dm-0`.
    pub(crate) node: &'a str,
}

/// Maps the partitions of each partition that has a table and no other content.
pub(crate) fn in_partitions(inventory: &mut Inventory, modules: &mut Modules) {
    let plain = inventory.devices.iter().filter(|found| {
        let device = &found.device;
        // One that begins with the disk begins with its table.
        let is_inside = device.partition > 0 && device.start > 0;
        found.content.is_none() && is_inside && device.bytes > EXTENDED
    });
    let plain: Vec<_> = plain.map(|found| found.device.clone()).collect();
    for device in plain {
        // A BSD label in a partition is a part of the table around it.
        let Some(table) = table(&device, false).filter(|table| table.kind != TableKind::Bsd) else {
            continue;
        };
        let mapper = modules.load("dm").and_then(|()| DeviceMapper::open());
        let path = device.path();
        let name = path.trim_start_matches("/dev/");
        let holder = Holder {
            group: GROUP,
            name,
            mapper_name: name,
            node: name,
        };
        let mapper = mapper.map_err(|error| error.to_string());
        map(inventory, mapper.as_ref(), &holder, (&device, &table));
    }
}

/// Maps the partitions of a volume.
pub(crate) fn in_volume(inventory: &mut Inventory, mapper: &DeviceMapper, holder: &Holder) {
    let Some(device) = sysfs::one(holder.node) else {
        return;
    };
    if let Some(table) = table(&device, inventory.holds(&device)) {
        map(inventory, Ok(mapper), holder, (&device, &table));
    }
}

/// Whether a partition without other content holds a partition table.
pub(crate) fn has_table(device: &BlockDevice) -> bool {
    device.start > 0 && table(device, false).is_some()
}

fn table(device: &BlockDevice, has_content: bool) -> Option<Table> {
    let table = tables::read(&device.open().ok()?, device.sector, has_content)?;
    (!table.partitions.is_empty()).then_some(table)
}

fn map(
    inventory: &mut Inventory,
    mapper: Result<&DeviceMapper, &String>,
    holder: &Holder,
    (device, table): (&BlockDevice, &Table),
) {
    let path = device.path();
    for warning in &table.warnings {
        inventory.warn(Warning::new(WarningCode::PartitionTable, &path, warning));
    }
    let parts = table.partitions.iter();
    for part in parts.filter(|part| !part.is_container) {
        let number = part.number;
        let name = format!("{}p{number}", holder.mapper_name);
        let made = mapper
            .map_err(|error| format!("cannot use the kernel's device-mapper: {error}"))
            .and_then(|mapper| one(mapper, &name, device, part));
        // kpartx leaves out the letter behind a name that does not end in a digit.
        let alias = format!("/dev/mapper/{}{number}", holder.mapper_name);
        inventory.add_volume(
            holder.group,
            &format!("{}p{number}", holder.name),
            format!("/dev/mapper/{name}"),
            vec![alias],
            made,
        );
    }
}

/// Maps one, and returns the kernel's name of it.
fn one(
    mapper: &DeviceMapper,
    name: &str,
    device: &BlockDevice,
    part: &Entry,
) -> Result<String, String> {
    if part.end().is_none_or(|end| end > device.bytes) {
        return Err(format!("it ends behind the end of {}", device.path()));
    }
    let line = linear(&device.number, part.start / 512, part.bytes / 512);
    let made = mapper.create(name, "", &[line]);
    let (_, minor) = made.map_err(|error| format!("the kernel refused its table: {error}"))?;
    let node = format!("dm-{minor}");
    // Without the link the device can still be found by its number.
    let _ = symlink(format!("../{node}"), format!("/dev/mapper/{name}"));
    Ok(node)
}
