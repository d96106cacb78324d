//! The block devices found so far, their identifiers, and the survey that is made of them.

use std::collections::{HashMap, HashSet};
use std::fs::File;

use super::plan::BlockId;
use super::sysfs::{self, BlockDevice};
use crate::block::blank::is_blank;
use crate::block::device_reader::Device;
use crate::block::superblock;
use crate::protocol::disks::{Content, Kind, Survey, Volume};
use crate::protocol::warning::{Warning, WarningCode};

/// Limit on the devices that are kept open.
const MAX_OPEN: usize = 64;

pub(crate) struct FoundDevice {
    pub(crate) device: BlockDevice,
    /// The name to show.
    pub(crate) path: String,
    pub(crate) content: Option<Content>,
}

#[derive(Default)]
pub(crate) struct Inventory {
    pub(crate) survey: Survey,
    pub(crate) devices: Vec<FoundDevice>,
    /// Every device that an fstab can refer to.
    pub(crate) ids: Vec<BlockId>,
    /// The identifiers of the groups and arrays that were assembled, or could not be.
    pub(crate) assembled: HashSet<String>,
    /// Why an encrypted device was not opened, by its node, if that was tried.
    pub(crate) locked: HashMap<String, String>,
    /// Devices that stay open: the kernel drops what it has read of a device when it is closed.
    kept_open: Vec<File>,
}

impl Inventory {
    pub(crate) fn probe(&mut self, device: &BlockDevice) -> Option<Content> {
        match device.open() {
            Ok(reader) => {
                let content = superblock::probe(&reader);
                self.keep_open(reader);
                content
            }
            Err(error) => {
                let reason = error.to_string();
                self.warn(Warning::new(WarningCode::Disk, &device.path(), reason));
                None
            }
        }
    }

    /// Keeps a device open until the survey is over.
    pub(crate) fn keep_open(&mut self, reader: Device) {
        if self.kept_open.len() < MAX_OPEN {
            self.kept_open.push(reader.file);
        }
    }

    /// Whether something was found on a device.
    pub(crate) fn holds(&self, device: &BlockDevice) -> bool {
        let mut devices = self.devices.iter();
        devices.any(|found| found.device.number == device.number && found.content.is_some())
    }

    pub(crate) fn warn(&mut self, warning: Warning) {
        self.survey.warnings.push(warning);
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &FoundDevice> {
        let is_kind = move |content: &Content| content.kind == kind;
        let devices = self.devices.iter();
        devices.filter(move |found| found.content.as_ref().is_some_and(is_kind))
    }

    /// Warns if a device without known content holds data all the same.
    pub(crate) fn warn_of_unknown(&mut self, device: &BlockDevice) {
        if device.open().is_ok_and(|reader| !is_blank(&reader)) {
            let reason = "data that is not recognised";
            self.warn(Warning::new(WarningCode::Unknown, &device.path(), reason));
        }
    }

    /// Adds a volume. `made` is the kernel's name of its device, or why there is none; `path` is
    /// the name to use, and `aliases` are others that an fstab may have.
    pub(crate) fn add_volume(
        &mut self,
        group: &str,
        name: &str,
        path: String,
        aliases: Vec<String>,
        made: Result<String, String>,
    ) {
        if let Err(problem) = &made {
            self.warn(Warning::new(WarningCode::Volume, &path, problem));
        }
        let device = made.as_ref().ok().and_then(|name| sysfs::one(name));
        let content = device.as_ref().and_then(|device| self.probe(device));
        self.survey.volumes.push(Volume {
            device: path.clone(),
            group: group.to_owned(),
            name: name.to_owned(),
            bytes: device.as_ref().map_or(0, |device| device.bytes),
            problem: made.err(),
            content: content.clone(),
        });
        if let (Some(device), Some(content)) = (device, content) {
            let paths = [vec![path.clone()], aliases].concat();
            self.ids.push(BlockId::new(&path, &content, paths));
            let content = Some(content);
            self.devices.push(FoundDevice {
                device,
                path,
                content,
            });
        }
    }
}
