//! Tells the kernel which partitions a disk has, by the table that was read here. The kernel's own
//! scan finds none in a table that it does not know, and is not asked.

use std::fs::File;

use super::array_names::partition_name;
use super::inventory::Inventory;
use super::sysfs::{self, BlockDevice};
use crate::block::tables::{self, Entry, Table};
use crate::protocol::warning::{Warning, WarningCode};
use crate::sys::{add_partition, delete_partition};

/// Makes the kernel's partitions of `disk` those of `table`. Returns the partitions that there are,
/// and a warning for each that could not be made.
pub(crate) fn apply(disk: &BlockDevice, table: &Table) -> (Vec<BlockDevice>, Vec<Warning>) {
    let mut warnings = Vec::new();
    let existing = sysfs::partitions(disk);
    let is_wanted = |part: &BlockDevice| table.partitions.iter().any(|entry| is_same(part, entry));
    let missing: Vec<_> = (table.partitions.iter())
        .filter(|entry| !existing.iter().any(|part| is_same(part, entry)))
        .collect();
    let file = match File::open(disk.path()) {
        Ok(file) => file,
        Err(error) => {
            let warning = Warning::new(WarningCode::Disk, &disk.path(), error.to_string());
            return (existing, vec![warning]);
        }
    };
    for part in existing.iter().filter(|part| !is_wanted(part)) {
        // One in use was mounted before, by its number in the same table.
        let _ = delete_partition(&file, part.partition);
    }
    for entry in missing {
        // The disk itself, by the convention of BSD and Sun. The kernel refuses what overlaps others.
        if entry.start == 0 && entry.bytes >= disk.bytes {
            continue;
        }
        let is_inside = entry.end().is_some_and(|end| end <= disk.bytes);
        let reason = match is_inside {
            true => match add_partition(&file, entry.number, entry.start, visible(entry)) {
                Ok(()) => continue,
                Err(error) => error.to_string(),
            },
            false => "it ends behind the end of the disk".to_owned(),
        };
        let path = disk.partition_path(entry.number);
        warnings.push(Warning::new(WarningCode::Partition, &path, reason));
    }
    (sysfs::partitions(disk), warnings)
}

fn is_same(part: &BlockDevice, entry: &Entry) -> bool {
    let place = (part.partition, part.start, part.bytes);
    place == (entry.number, entry.start, visible(entry))
}

/// The bytes that the kernel shows of it: an extended partition holds nothing but a boot record.
fn visible(entry: &Entry) -> u64 {
    match entry.is_container {
        true => entry.bytes.min(1024),
        false => entry.bytes,
    }
}

/// Adds the partitions of an array as volumes of their own.
/// `aliases` are the array's names.
pub(crate) fn nested(
    inventory: &mut Inventory,
    group: &str,
    name: &str,
    node: &str,
    aliases: &[String],
) {
    let Some(device) = sysfs::one(node) else {
        return;
    };
    let Ok(reader) = device.open() else {
        return;
    };
    let has_content = inventory.holds(&device);
    let Some(table) = tables::read(&reader, device.sector, has_content) else {
        return;
    };
    let (parts, warnings) = apply(&device, &table);
    let faults = table.warnings.iter();
    let faults =
        faults.map(|fault| Warning::new(WarningCode::PartitionTable, &device.path(), fault));
    faults
        .chain(warnings)
        .for_each(|warning| inventory.warn(warning));
    for part in parts {
        let number = part.partition;
        let is_container = |entry: &Entry| entry.number == number && entry.is_container;
        if table.partitions.iter().any(is_container) {
            continue;
        }
        let aliases = aliases.iter();
        let aliases = aliases.map(|alias| partition_name(alias, number)).collect();
        let node = part.path().trim_start_matches("/dev/").to_owned();
        inventory.add_volume(
            group,
            &format!("{name}p{number}"),
            part.path(),
            aliases,
            Ok(format!("{}/{node}", device_name(&device))),
        );
    }
}

fn device_name(device: &BlockDevice) -> String {
    device.path().trim_start_matches("/dev/").to_owned()
}
