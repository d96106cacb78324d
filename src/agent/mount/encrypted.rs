//! Encrypted volumes, opened by the kernel's dm-crypt: those of LUKS with keys that the host derives,
//! others by a program that the host runs here. A survey stops when it has found some, until the host has
//! answered for each.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Mutex, PoisonError};

use super::device_mapper::DeviceMapper;
use super::inventory::{FoundDevice, Inventory};
use super::modules::Modules;
use super::nested::{self, Holder};
use super::survey;
use crate::block::lvm::table::TableLine;
use crate::protocol::Response;
use crate::protocol::crypt::{CryptVolume, LockedVolume, Opening, Unlock};
use crate::protocol::disks::Kind;
use crate::protocol::warning::Warning;

/// What is encrypted, and the group of what is in it.
const KINDS: [(Kind, &str); 2] = [(Kind::Luks, "luks"), (Kind::Bitlocker, "bitlk")];

/// How often a survey may stop: volumes in volumes in volumes.
const MAX_STOPS: usize = 8;

/// A survey that waits for the host.
pub(crate) struct Held {
    inventory: Inventory,
    modules: Modules,
    warnings: Vec<Warning>,
    /// The nodes that the host was asked for.
    asked: HashSet<String>,
    stops: usize,
}

static HELD: Mutex<Option<Held>> = Mutex::new(None);

impl Held {
    pub(crate) fn new(inventory: Inventory, modules: Modules, warnings: Vec<Warning>) -> Self {
        Self {
            inventory,
            modules,
            warnings,
            asked: HashSet::new(),
            stops: 0,
        }
    }

    pub(crate) fn take() -> Option<Self> {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The encrypted volumes that the host was not asked for yet.
    fn locked(&mut self) -> Vec<LockedVolume> {
        if self.stops == MAX_STOPS {
            return Vec::new();
        }
        let inventory = &self.inventory;
        let encrypted = KINDS.iter().flat_map(|(kind, _)| inventory.of_kind(*kind));
        let locked = encrypted.filter_map(|found| {
            let is_new = self.asked.insert(found.path.clone());
            is_new.then(|| locked(found, inventory))
        });
        let locked: Vec<_> = locked.collect();
        if !locked.is_empty() {
            // Programs of the host load none; what fails is told when a volume is opened.
            for set in ["dm", "dm-crypt", "dm-zero"] {
                let _ = self.modules.load(set);
            }
        }
        locked
    }
}

fn locked(found: &FoundDevice, inventory: &Inventory) -> LockedVolume {
    let ids = inventory.ids.iter().filter(|id| id.device == found.path);
    let target = Target::of(found);
    LockedVolume {
        device: found.path.clone(),
        kind: target.kind,
        name: target.name(),
        aliases: ids.flat_map(|id| id.paths.clone()).collect(),
        uuid: uuid(found),
        bytes: found.device.bytes,
    }
}

fn uuid(found: &FoundDevice) -> Option<String> {
    found.content.as_ref()?.uuid.clone()
}

/// Goes on with a survey to its end or to the next encrypted volumes. What lacks a device waits until
/// those are open: the device may be in one of them.
pub(crate) fn proceed(mut held: Held) -> Response {
    for only_complete in [true, false] {
        survey::assemble(&mut held.inventory, &mut held.modules, only_complete);
        let locked = held.locked();
        if !locked.is_empty() {
            held.stops += 1;
            *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
            return Response::Locked(locked);
        }
    }
    let mut survey = survey::finish(held.inventory, &mut held.modules);
    survey.warnings.extend(held.warnings);
    Response::Survey(Box::new(survey))
}

/// Opens what the host has keys for, and goes on.
pub(crate) fn unlock(mut held: Held, answers: &[Unlock]) -> Response {
    for answer in answers {
        let inventory = &mut held.inventory;
        let is_meant = |found: &&FoundDevice| found.path == answer.device;
        let all = &*inventory;
        let encrypted = KINDS.iter().flat_map(|(kind, _)| all.of_kind(*kind));
        let target = encrypted.filter(is_meant).map(Target::of).next();
        let Some(target) = target else {
            continue;
        };
        match &answer.volume {
            Ok(opening) => open(inventory, &mut held.modules, &target, opening),
            Err(why) => {
                inventory.locked.insert(target.path, why.clone());
            }
        }
    }
    proceed(held)
}

/// An encrypted volume.
struct Target {
    kind: Kind,
    path: String,
    number: String,
    sectors: u64,
    uuid: String,
}

impl Target {
    fn of(found: &FoundDevice) -> Self {
        Self {
            kind: found.content.as_ref().map_or(Kind::Luks, |one| one.kind),
            path: found.path.clone(),
            number: found.device.number.clone(),
            sectors: found.device.bytes / 512,
            uuid: uuid(found).unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    fn group(&self) -> &'static str {
        let mut kinds = KINDS.iter().filter(|(kind, _)| *kind == self.kind);
        kinds.next().map_or("luks", |(_, group)| group)
    }

    /// The name that installers give it, or that of its device where it has no UUID.
    fn name(&self) -> String {
        match self.kind {
            Kind::Luks => opened_name(&self.uuid),
            _ => {
                let device = self.path.trim_start_matches("/dev/");
                let device = device.trim_start_matches("mapper/").replace('/', "_");
                format!("{}-{device}", self.group())
            }
        }
    }
}

/// Opens one, and adds what is in it.
fn open(inventory: &mut Inventory, modules: &mut Modules, target: &Target, opening: &Opening) {
    let (name, group) = (target.name(), target.group());
    let mapper = modules
        .load("dm")
        .and_then(|()| modules.load("dm-crypt"))
        .and_then(|()| DeviceMapper::open());
    let mapper = mapper.map_err(|error| format!("cannot use the kernel's dm-crypt: {error}"));
    let made = mapper.as_ref().map_err(String::clone).and_then(|mapper| {
        let volume = match opening {
            Opening::Crypt(volume) => volume,
            Opening::Mapped => return mapped(&name),
        };
        let line = table(target, volume).ok_or("its data end behind the end of the device")?;
        // The identifier of cryptsetup, by which udev makes a link (60-persistent-storage-dm.rules).
        let id = format!("CRYPT-LUKS2-{}-{name}", target.uuid.replace('-', ""));
        let made = mapper.create(&name, &id, &[line]);
        let (_, minor) = made.map_err(|error| format!("the kernel refused its table: {error}"))?;
        Ok(format!("dm-{minor}"))
    });
    inventory.assembled.insert(target.path.clone());
    if let Ok(node) = &made {
        // Without the link the device can still be found by its number.
        let _ = symlink(format!("../{node}"), format!("/dev/mapper/{name}"));
    }
    let aliases = vec![format!("/dev/disk/by-id/dm-name-{name}")];
    let path = format!("/dev/mapper/{name}");
    inventory.add_volume(group, &name, path, aliases, made.clone());
    if let (Ok(node), Ok(mapper)) = (made, &mapper) {
        let holder = Holder {
            group,
            name: &name,
            mapper_name: &name,
            node: &node,
        };
        nested::in_volume(inventory, mapper, &holder);
    }
}

/// The kernel's name of the device that a program has made under a name.
fn mapped(name: &str) -> Result<String, String> {
    let all = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut nodes = all.filter_map(|entry| entry.file_name().into_string().ok());
    let is_it = |node: &String| {
        let own = fs::read_to_string(format!("/sys/block/{node}/dm/name"));
        own.is_ok_and(|own| own.trim_end() == name)
    };
    nodes
        .find(is_it)
        .ok_or_else(|| "the program that opened it has made no device".to_owned())
}

fn opened_name(uuid: &str) -> String {
    format!("luks-{}", uuid.replace(['/', '\0'], "_"))
}

/// The path of an open volume, by the UUID of what it is in.
pub(crate) fn opened_path(uuid: &str) -> String {
    format!("/dev/mapper/{}", opened_name(uuid))
}

/// The table of dm-crypt (Documentation/admin-guide/device-mapper/dm-crypt.rst).
fn table(target: &Target, volume: &CryptVolume) -> Option<TableLine> {
    let there = target.sectors.checked_sub(volume.offset)?;
    let length = volume.length.unwrap_or(there);
    // Only whole sectors, which may be larger than 512 bytes.
    let unit = u64::from(volume.sector_size / 512).max(1);
    let length = length - length % unit;
    if length == 0 || length > there {
        return None;
    }
    let options = match volume.sector_size {
        512 => String::new(),
        size => format!(" 1 sector_size:{size}"),
    };
    Some(TableLine {
        start: 0,
        length,
        target: "crypt",
        arguments: format!(
            "{} {} {} {} {}{options}",
            volume.cipher,
            volume.key.hex(),
            volume.iv_offset,
            target.number,
            volume.offset
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::crypt::VolumeKey;

    #[test]
    fn the_table_has_whole_sectors_within_the_device() {
        let target = Target {
            kind: Kind::Luks,
            path: "/dev/vda1".to_owned(),
            number: "254:1".to_owned(),
            sectors: 1013,
            uuid: String::new(),
        };
        let volume = |offset, length, sector_size| CryptVolume {
            cipher: "aes-xts-plain64".to_owned(),
            key: VolumeKey(vec![0xab; 2]),
            offset,
            length,
            iv_offset: 5,
            sector_size,
        };
        let line = |volume| table(&target, &volume).map(|line| (line.length, line.arguments));
        let arguments = "aes-xts-plain64 abab 5 254:1 8".to_owned();
        assert_eq!(line(volume(8, None, 512)), Some((1005, arguments.clone())));
        assert_eq!(line(volume(8, Some(4), 512)), Some((4, arguments.clone())));
        let large = format!("{arguments} 1 sector_size:4096");
        assert_eq!(line(volume(8, None, 4096)), Some((1000, large)));
        assert_eq!(line(volume(8, Some(1006), 512)), None);
        assert_eq!(line(volume(1013, None, 512)), None);
        assert_eq!(line(volume(u64::MAX, Some(1), 512)), None);
    }
}
