//! Filesystems of btrfs over several devices: each of them has to be told to the kernel before any
//! is mounted.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::modules::Modules;
use super::plan::BlockId;
use crate::protocol::disks::Kind;
use crate::protocol::warning::{Warning, WarningCode};
use crate::sys::scan_btrfs;

/// Where the superblock has `num_devices` (fs/btrfs/btrfs_tree.h).
const NUM_DEVICES: u64 = 0x1_0000 + 0x88;

/// How many devices the filesystem on `device` has; 0 if that cannot be read.
pub(crate) fn count(device: &BlockId) -> u64 {
    let mut bytes = [0; 8];
    let read =
        File::open(&device.device).and_then(|file| file.read_exact_at(&mut bytes, NUM_DEVICES));
    read.map_or(0, |()| u64::from_le_bytes(bytes))
}

/// Tells the kernel of every device of a filesystem that has several. Returns a warning for each
/// filesystem that is not complete.
pub(crate) fn scan(known: &[BlockId], modules: &mut Modules) -> Vec<Warning> {
    let mut filesystems: BTreeMap<&str, Vec<&BlockId>> = BTreeMap::new();
    for device in known.iter().filter(|device| device.kind == Kind::Btrfs) {
        if let Some(uuid) = device.uuid.as_deref().filter(|_| count(device) > 1) {
            filesystems.entry(uuid).or_default().push(device);
        }
    }
    let mut warnings = Vec::new();
    if filesystems.is_empty() {
        return warnings;
    }
    let control = modules
        .load("btrfs")
        .and_then(|()| File::open("/dev/btrfs-control"));
    for (uuid, devices) in filesystems {
        for device in &devices {
            let name = CString::new(device.device.as_str()).unwrap_or_default();
            let told = control.as_ref().map(|control| scan_btrfs(control, &name));
            if let Ok(Err(error)) = told {
                warnings.push(Warning::new(
                    WarningCode::Volume,
                    &device.device,
                    error.to_string(),
                ));
            }
        }
        let all = count(devices[0]);
        if (devices.len() as u64) < all {
            let found = devices.len();
            warnings.push(Warning::new(
                WarningCode::Volume,
                &devices[0].device,
                format!("the btrfs {uuid} is incomplete: {found} of its {all} devices are here"),
            ));
        }
    }
    warnings
}
