//! What is found in an image, as it is printed in JSON.

use serde::Serialize;

use crate::commands::df::table::Space;
use crate::commands::inside::name_of;
use crate::guest::inspect::facts::Facts;
use crate::guest::inspect::kernels::Kernel;
use crate::guest::inspect::last_boot::{LastBoot, What};
use crate::guest::inspect::packages::Packages;
use crate::guest::inspect::users::User;
use crate::guest::wire::ByteString;
use crate::guest::wire::disks::{Content, LeftOut, Mount, Root, Survey, Table};
use crate::text::time;

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// As it was typed.
    pub image: ByteString,
    /// Another process was writing to it.
    pub in_use: bool,
    /// The image's disk.
    pub disks: Vec<Disk>,
    /// LVM volumes and MD arrays.
    pub volumes: Vec<Volume>,
    /// Operating systems.
    pub systems: Vec<System>,
    /// What could not be read, one sentence each.
    pub remarks: Vec<String>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Its node in the appliance.
    pub device: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its partition table.
    pub table: Option<Table>,
    /// What is on it as a whole.
    pub content: Option<Holding>,
    /// Its partitions.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its number.
    pub number: u32,
    /// Its node.
    pub device: String,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// A GUID, or `0x83`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its name; GPT only.
    pub label: Option<String>,
    /// As PARTUUID= names it.
    pub uuid: Option<String>,
    /// What is on it.
    pub content: Option<Holding>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Its node.
    pub device: String,
    /// Its LVM group, or md.
    pub group: String,
    /// Its name there.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Why it cannot be read.
    pub problem: Option<String>,
    /// What is on it.
    pub content: Option<Holding>,
}

/// What is on a block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// A filesystem, swap, luks, lvm or md.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// As UUID= names it.
    pub uuid: Option<String>,
    /// As LABEL= names it.
    pub label: Option<String>,
    /// Bytes that a filesystem has for files.
    pub size: Option<u64>,
    /// Bytes that are taken of them.
    pub used: Option<u64>,
    /// Bytes that an ordinary user could still write.
    pub available: Option<u64>,
    /// Why it could not be mounted.
    pub error: Option<String>,
}

/// An operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct System {
    /// As `--root` names it.
    pub root: String,
    /// os-release's PRETTY_NAME, or the like.
    pub name: Option<String>,
    /// os-release's ID.
    pub id: Option<String>,
    /// os-release's VERSION_ID.
    pub version: Option<String>,
    /// As uname(1) names the processor.
    pub architecture: Option<String>,
    /// What it calls itself.
    pub hostname: Option<String>,
    /// The init system.
    pub init: Option<&'static str>,
    /// The kernels, the newest last.
    pub kernels: Vec<Kernel>,
    /// The package manager.
    pub packages: Option<Packages>,
    /// Users with a login shell.
    pub users: Vec<User>,
    /// When it ran last.
    pub last_boot: Option<Boot>,
    /// What is mounted for it, in order.
    pub mounts: Vec<Mount>,
    /// What fstab has besides.
    pub left_out: Vec<LeftOut>,
}

/// When a system ran last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// In UTC.
    pub time: String,
    /// Whether it started then, or was merely running.
    pub what: What,
    /// The file that says so.
    pub evidence: String,
}

impl From<LastBoot> for Boot {
    fn from(boot: LastBoot) -> Self {
        Self {
            time: time::as_rfc3339((boot.seconds, 0)),
            what: boot.what,
            evidence: boot.evidence,
        }
    }
}

impl Report {
    /// What the survey and the filesystems' own numbers say.
    pub fn new(survey: &Survey, spaces: &[Space], in_use: bool) -> Self {
        let holding = |device: &str, content: &Option<Content>| {
            let content = content.as_ref()?;
            let space = spaces.iter().find(|space| space.device == device);
            Some(Holding {
                kind: content.kind.name(),
                uuid: content.uuid.clone(),
                label: content.label.clone(),
                size: space.and_then(|space| space.size),
                used: space.and_then(|space| space.used),
                available: space.and_then(|space| space.available),
                error: space.and_then(|space| space.error.clone()),
            })
        };
        let disks = survey.disks.iter().map(|disk| Disk {
            device: disk.device.clone(),
            bytes: disk.bytes,
            table: disk.table.clone(),
            content: holding(&disk.device, &disk.content),
            partitions: (disk.partitions.iter())
                .map(|part| Partition {
                    number: part.number,
                    device: part.device.clone(),
                    start: part.start,
                    bytes: part.bytes,
                    kind: part.kind.clone(),
                    label: part.label.clone(),
                    uuid: part.uuid.clone(),
                    content: holding(&part.device, &part.content),
                })
                .collect(),
        });
        let volumes = survey.volumes.iter().map(|volume| Volume {
            device: volume.device.clone(),
            group: volume.group.clone(),
            name: volume.name.clone(),
            bytes: volume.bytes,
            problem: volume.problem.clone(),
            content: holding(&volume.device, &volume.content),
        });
        Self {
            image: "".into(),
            in_use,
            disks: disks.collect(),
            volumes: volumes.collect(),
            systems: Vec::new(),
            remarks: survey.remarks.clone(),
        }
    }

    /// Adds a system.
    pub fn add(&mut self, root: Root, facts: Facts) {
        self.systems.push(System {
            root: name_of(&root),
            name: root.os.name,
            id: root.os.id,
            version: root.os.version,
            architecture: facts.architecture,
            hostname: facts.hostname,
            init: facts.init,
            kernels: facts.kernels,
            packages: facts.packages,
            users: facts.users,
            last_boot: facts.last_boot.map(Boot::from),
            mounts: root.mounts,
            left_out: root.left_out,
        });
    }
}
