//! What is found in an image, as JSON has it: the survey of the appliance and the facts of each
//! system, under the names that they have in the report.

use serde::Serialize;

use crate::commands::df::table::FsUsage;
use crate::commands::df::unread::with_errors;
use crate::commands::inspection::name_of;
use crate::inspect::facts::Facts;
use crate::inspect::filesystems::same;
use crate::protocol::ByteString;
use crate::protocol::disks::{self, Content, Disk, Mount, Root, SkippedMount, Survey, Volume};
use crate::protocol::warning::{Warning, WarningCode};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageInfo {
    pub image: ByteString,
    /// Another process was writing to it.
    pub in_use: bool,
    pub disks: Vec<Disk>,
    /// LVM volumes and MD arrays.
    pub volumes: Vec<Volume>,
    pub systems: Vec<System>,
    /// What was not understood, not read, or is not complete.
    pub warnings: Vec<Warning>,
    /// The same as sentences: what version 0.1 had.
    pub remarks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct System {
    /// As `--root` names it.
    pub root: String,
    #[serde(flatten)]
    pub os: disks::System,
    #[serde(flatten)]
    pub facts: Facts,
    /// What is mounted for it, in order.
    pub mounts: Vec<Mount>,
    /// The lines of its fstab that are not mounted.
    pub left_out: Vec<SkippedMount>,
}

impl ImageInfo {
    /// What a survey found, with the usage of the filesystems that were mounted.
    pub fn new(survey: &Survey, filesystems: &[FsUsage], in_use: bool) -> Self {
        let warnings = with_errors(filesystems, survey.warnings.iter().cloned());
        let (mut disks, mut volumes) = (survey.disks.clone(), survey.volumes.clone());
        let same = same(survey);
        let fill = |device: &str, content: &mut Option<Content>| {
            let device = same.get(device).copied().unwrap_or(device);
            let found = filesystems.iter().find(|found| found.device == device);
            if let Some(content) = content {
                content.usage = Some(found.map(FsUsage::usage).unwrap_or_default());
            }
        };
        for disk in &mut disks {
            // The appliance's own.
            disk.serial = None;
            fill(&disk.device, &mut disk.content);
            for part in &mut disk.partitions {
                fill(&part.device, &mut part.content);
            }
        }
        for volume in &mut volumes {
            fill(&volume.device, &mut volume.content);
        }
        Self {
            image: "".into(),
            in_use,
            disks,
            volumes,
            systems: Vec::new(),
            warnings,
            remarks: Vec::new(),
        }
    }

    /// Adds a system. `failed` are the mounts of `root` that the kernel refused.
    pub fn add(&mut self, root: Root, facts: Facts, failed: &[SkippedMount]) {
        let skipped = root.left_out.iter().chain(failed);
        let missing = skipped.filter(|skipped| skipped.missing);
        let warnings = missing.map(|skipped| {
            let reason = format!("not mounted: {skipped}");
            Warning::new(WarningCode::Mount, &root.device, reason)
        });
        self.warnings.extend(warnings);
        self.systems.push(System {
            root: name_of(&root),
            os: root.os,
            facts,
            mounts: root.mounts,
            left_out: root.left_out,
        });
    }
}
