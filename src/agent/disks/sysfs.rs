//! The kernel's disks and partitions, as /sys/block has them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::blocks::Device;
use crate::agent::init::tell;

/// A disk or a partition of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Such as `vda1`.
    pub name: String,
    /// `MAJOR:MINOR`.
    pub number: String,
    /// In bytes.
    pub bytes: u64,
    /// Where it begins on its disk, in bytes; 0 for a disk.
    pub start: u64,
    /// The number of a partition; 0 for a disk.
    pub partition: u32,
    /// The bytes of a logical sector.
    pub sector: u64,
    /// The disk's serial number.
    pub serial: Option<String>,
}

impl Node {
    /// Its device, such as `/dev/vda1`.
    pub fn device(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// What opening says.
    pub fn open(&self) -> io::Result<Device> {
        Ok(Device {
            file: File::open(self.device())?,
            size: self.bytes,
        })
    }
}

/// Where the kernel lists its block devices.
const BLOCK: &str = "/sys/block";

/// What is no disk of an image's: made by the kernel itself, or by this agent.
const NOT_DISKS: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "fd", "nbd", "mtdblock"];

/// Every disk with its partitions, in the order in which they were attached.
pub fn disks() -> Vec<(Node, Vec<Node>)> {
    disks_in(Path::new(BLOCK))
}

fn is_disk(name: &str) -> bool {
    !NOT_DISKS.iter().any(|other| name.starts_with(other))
}

fn disks_in(directory: &Path) -> Vec<(Node, Vec<Node>)> {
    let mut found: Vec<_> = names(directory)
        .into_iter()
        .filter(|name| is_disk(name))
        .filter_map(|name| {
            let place = directory.join(&name);
            let disk = node(&place, &name, None)?;
            // A CD-ROM drive without a medium, for instance.
            (disk.bytes > 0).then_some(())?;
            let mut parts: Vec<_> = names(&place)
                .into_iter()
                .filter(|part| {
                    part.starts_with(&name) && place.join(part).join("partition").exists()
                })
                .filter_map(|part| node(&place.join(&part), &part, Some(&disk)))
                .collect();
            parts.sort_by_key(|part| part.partition);
            Some((disk, parts))
        })
        .collect();
    // vdb comes before vdaa, and sr0 after sda.
    found.sort_by_key(|(disk, _)| {
        (
            disk.name.starts_with("sr"),
            disk.name.len(),
            disk.name.clone(),
        )
    });
    found
}

/// One node by its name, such as `dm-0`.
pub fn one(name: &str) -> Option<Node> {
    node(&Path::new(BLOCK).join(name), name, None)
}

fn node(place: &Path, name: &str, disk: Option<&Node>) -> Option<Node> {
    let number = |file: &str| text(&place.join(file))?.parse::<u64>().ok();
    // Both are in sectors of 512 bytes, whatever the disk's are.
    let size = number("size")?.checked_mul(512)?;
    Some(Node {
        name: name.to_owned(),
        number: text(&place.join("dev"))?,
        bytes: size,
        start: number("start").unwrap_or(0).saturating_mul(512),
        partition: number("partition").unwrap_or(0) as u32,
        sector: match disk {
            Some(disk) => disk.sector,
            None => number("queue/logical_block_size").unwrap_or(512),
        },
        serial: text(&place.join("serial")).filter(|serial| !serial.is_empty()),
    })
}

/// Waits until so many disks are there: what is attached to a bus such as SCSI is found after
/// its driver was loaded. Gives back how many there are.
pub fn wait_for(disks: usize, patience: Duration) -> usize {
    let start = Instant::now();
    loop {
        let there = count();
        if there >= disks || start.elapsed() > patience {
            return there;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The names of the disks that have bytes.
fn there() -> Vec<String> {
    let sectors = |name: &String| text(&Path::new(BLOCK).join(name).join("size"));
    let mut names = names(Path::new(BLOCK));
    names.retain(|name| is_disk(name) && sectors(name).is_some_and(|sectors| sectors != "0"));
    names
}

/// How many disks there are.
pub fn count() -> usize {
    there().len()
}

/// Has the kernel look for partitions on the disks that have none. It looks by itself where a
/// disk is attached, and not if a placeholder has grown, as in an appliance that was restored.
pub fn find_partitions() {
    for disk in there() {
        let entries = names(&Path::new(BLOCK).join(&disk));
        if !entries.iter().any(|entry| entry.starts_with(&disk))
            && let Ok(file) = File::open(format!("/dev/{disk}"))
            && let Err(error) = crate::sys::reread_partitions(&file)
            && error.kind() != io::ErrorKind::ResourceBusy
        {
            // A drive that takes no partitions (one in use has been looked at before); the
            // survey shows what there is.
            tell(&format!("/dev/{disk}: {error}"));
        }
    }
}

/// Whether a virtio device of this sort waits for a driver or has one: 8 is SCSI (virtio 1.2, 5).
pub fn has_virtio(kind: u32) -> bool {
    let devices = Path::new("/sys/bus/virtio/devices");
    names(devices).iter().any(|name| {
        let found = text(&devices.join(name).join("device"));
        let found = found.and_then(|id| u32::from_str_radix(id.trim_start_matches("0x"), 16).ok());
        found == Some(kind)
    })
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn text(path: &PathBuf) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}
