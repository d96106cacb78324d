//! The kernel's list of disks and partitions (/sys/block).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::block::device_reader::Device;

/// A disk, a partition or a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockDevice {
    /// Such as `vda1`.
    name: String,
    /// `MAJOR:MINOR`.
    pub(crate) number: String,
    pub(crate) bytes: u64,
    /// The offset on its disk in bytes; 0 for a disk.
    pub(crate) start: u64,
    /// The number of a partition; 0 for a disk.
    pub(crate) partition: u32,
    /// The bytes of a logical sector.
    pub(crate) sector: u64,
    pub(crate) serial: Option<String>,
}

impl BlockDevice {
    /// Its node, such as `/dev/vda1`.
    pub(crate) fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// The node of its partition `number`, which may not exist.
    pub(crate) fn partition_path(&self, number: u32) -> String {
        let digit = self.name.ends_with(|last: char| last.is_ascii_digit());
        let between = if digit { "p" } else { "" };
        format!("{}{between}{number}", self.path())
    }

    /// Whether it is a CD-ROM drive, which the kernel gives no partitions.
    pub(crate) fn is_optical(&self) -> bool {
        self.name.starts_with("sr")
    }

    pub(crate) fn open(&self) -> io::Result<Device> {
        Ok(Device {
            file: File::open(self.path())?,
            size: self.bytes,
        })
    }
}

const BLOCK: &str = "/sys/block";

/// Prefixes of devices that are not disks of the machine.
const NOT_DISKS: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "fd", "nbd", "mtdblock"];

/// Every disk, in the order in which they were attached.
pub(crate) fn disks() -> Vec<BlockDevice> {
    disks_in(Path::new(BLOCK))
}

/// Has each request of a disk go to the host at once. The scheduler that the kernel chooses for disks with one
/// queue passes them to another thread, which takes a third of the time of a small request under emulation.
pub(crate) fn leave_out_schedulers() {
    let names = names(Path::new(BLOCK)).into_iter();
    for name in names.filter(|name| is_disk(name)) {
        // Without it everything works, more slowly.
        let _ = fs::write(Path::new(BLOCK).join(name).join("queue/scheduler"), "none");
    }
}

fn is_disk(name: &str) -> bool {
    !NOT_DISKS.iter().any(|other| name.starts_with(other))
}

fn disks_in(directory: &Path) -> Vec<BlockDevice> {
    let names = names(directory).into_iter().filter(|name| is_disk(name));
    let mut found: Vec<_> = names
        .filter_map(|name| device(&directory.join(&name), &name, None))
        // A CD-ROM drive without a medium has no bytes.
        .filter(|disk| disk.bytes > 0)
        .collect();
    // vdb comes before vdaa, and sr0 after sda.
    found.sort_by_key(|disk| (disk.is_optical(), disk.name.len(), disk.name.clone()));
    found
}

/// The partitions of a disk that the kernel knows, by number.
pub(crate) fn partitions(disk: &BlockDevice) -> Vec<BlockDevice> {
    partitions_in(Path::new(BLOCK), disk)
}

fn partitions_in(directory: &Path, disk: &BlockDevice) -> Vec<BlockDevice> {
    let place = directory.join(&disk.name);
    let mut parts: Vec<_> = names(&place)
        .into_iter()
        .filter(|part| part.starts_with(&disk.name) && place.join(part).join("partition").exists())
        .filter_map(|part| device(&place.join(&part), &part, Some(disk)))
        .collect();
    parts.sort_by_key(|part| part.partition);
    parts
}

/// A device by its name, such as `dm-0`, or `md127/md127p1` for a partition.
pub(crate) fn one(name: &str) -> Option<BlockDevice> {
    let base = name.rsplit('/').next().unwrap_or(name);
    device(&Path::new(BLOCK).join(name), base, None)
}

fn device(place: &Path, name: &str, disk: Option<&BlockDevice>) -> Option<BlockDevice> {
    let number = |file: &str| text(&place.join(file))?.parse::<u64>().ok();
    // Always in sectors of 512 bytes, as is `start`.
    let size = number("size")?.checked_mul(512)?;
    Some(BlockDevice {
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

/// Waits until there are `disks` disks: those on a bus such as SCSI appear some time after its
/// driver was loaded. Returns how many there are.
pub(crate) fn wait_for(disks: usize, timeout: Duration) -> usize {
    let start = Instant::now();
    loop {
        let found = count();
        if found >= disks || start.elapsed() > timeout {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The names of the disks, without empty ones.
fn disk_names() -> Vec<String> {
    let sectors = |name: &String| text(&Path::new(BLOCK).join(name).join("size"));
    let mut names = names(Path::new(BLOCK));
    names.retain(|name| is_disk(name) && sectors(name).is_some_and(|sectors| sectors != "0"));
    names
}

pub(crate) fn count() -> usize {
    disk_names().len()
}

/// Whether there is a virtio device of this type (virtio 1.2, section 5).
pub(crate) fn has_virtio(kind: u32) -> bool {
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
