//! Filesystems of btrfs over several devices: each of them has to be told to the kernel before any
//! is mounted.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::modules::Modules;
use super::plan::BlockId;
use crate::protocol::disks::{Kind, Survey};
use crate::protocol::warning::{Warning, WarningCode};
use crate::sys::scan_btrfs;

/// Where the superblock has `num_devices` (fs/btrfs/btrfs_tree.h).
const NUM_DEVICES: u64 = 0x1_0000 + 0x88;
/// Where it has the number of the device itself, `dev_item.devid`.
const DEVICE: u64 = 0x1_0000 + 0xc9;

/// How many devices the filesystem on `device` has; 0 if that cannot be read.
pub(crate) fn count(device: &BlockId) -> u64 {
    number_at(device, NUM_DEVICES)
}

fn number_at(device: &BlockId, offset: u64) -> u64 {
    let mut bytes = [0; 8];
    let read = File::open(&device.device).and_then(|file| file.read_exact_at(&mut bytes, offset));
    read.map_or(0, |()| u64::from_le_bytes(bytes))
}

/// Tells the kernel of every device of a filesystem that has several, and adds the devices of each
/// to the survey, with a warning if the filesystem is not complete.
pub(crate) fn scan(known: &[BlockId], modules: &mut Modules, survey: &mut Survey) {
    let mut filesystems: BTreeMap<&str, Vec<&BlockId>> = BTreeMap::new();
    for device in known.iter().filter(|device| device.kind == Kind::Btrfs) {
        if let Some(uuid) = device.uuid.as_deref().filter(|_| count(device) > 1) {
            filesystems.entry(uuid).or_default().push(device);
        }
    }
    if filesystems.is_empty() {
        return;
    }
    let control = modules
        .load("btrfs")
        .and_then(|()| File::open("/dev/btrfs-control"));
    for (uuid, devices) in filesystems {
        survey
            .warnings
            .extend(tell(&devices, control.as_ref().ok()));
        survey.warnings.extend(incomplete(uuid, &devices));
        let members = devices.iter().map(|found| found.device.clone());
        survey.pools.push(members.collect());
    }
}

/// Tells the kernel of the devices of one filesystem, but of no copy: that has the number of the
/// original.
fn tell(devices: &[&BlockId], control: Option<&File>) -> Vec<Warning> {
    let mut members: BTreeMap<u64, &str> = BTreeMap::new();
    let mut warnings = Vec::new();
    for found in devices {
        let name = found.device.as_str();
        let reason = match members.entry(number_at(found, DEVICE)) {
            Entry::Occupied(other) => format!("a copy of {}, not used", other.get()),
            Entry::Vacant(place) => {
                place.insert(name);
                let path = CString::new(name).unwrap_or_default();
                match control.map(|control| scan_btrfs(control, &path)) {
                    Some(Err(error)) => error.to_string(),
                    _ => continue,
                }
            }
        };
        warnings.push(Warning::new(WarningCode::Volume, name, reason));
    }
    warnings
}

/// A warning if devices are missing.
fn incomplete(uuid: &str, devices: &[&BlockId]) -> Option<Warning> {
    let numbers = devices.iter().map(|found| number_at(found, DEVICE));
    let (all, found) = (count(devices[0]), numbers.collect::<BTreeSet<_>>().len());
    let are = if found == 1 { "is" } else { "are" };
    ((found as u64) < all).then(|| {
        let reason =
            format!("the btrfs {uuid} is incomplete: {found} of its {all} devices {are} here");
        Warning::new(WarningCode::Volume, &devices[0].device, reason)
    })
}
