//! Starts an appliance: restored from its template, which is built first if it is missing, or
//! booted.
//!
//! The appliance is saved with placeholder disks, which have no byte. A restored one has the
//! image's disks in their place, and is told that they have grown. So a template never holds
//! anything of an image, no bus is searched after the restore, and one template serves all images.

use std::future::Future;
use std::os::fd::{AsFd, AsRawFd};

use super::spec::TemplateSpec;
use crate::appliance;
use crate::appliance::boot::{self, Appliance, ApplianceConfig, AppliancePorts, BootError};
use crate::machine::args::argv;
use crate::machine::drives::Drives;
use crate::machine::plan::{ChildFd, Disk, MemoryMapping, Plan, SnapshotConfig};
use crate::machine::{Channels, Machine};
use crate::template::key::Key;
use crate::template::lookup::{SnapshotBuilder, TemplateSlot, get_or_build, mark_unusable};
use crate::template::restore::{Template, resume, start_restored};
use crate::template::save::take_snapshot;
use crate::template::snapshot::Snapshot;
use crate::template::{Store, TemplateError, memory};

/// The disks of an appliance, and what they are made of.
#[derive(Debug)]
pub(crate) struct Storage<'a> {
    pub drives: &'a Drives,
    /// All disks that are among the drives.
    pub disks: Vec<Disk>,
    /// How many bytes may be written to each disk.
    pub max_write: Option<u64>,
}

/// An appliance with disks.
#[derive(Debug)]
pub(crate) struct RunningAppliance {
    pub appliance: Appliance,
    /// Held while the appliance runs, so that it is not removed. None if the appliance was booted.
    pub template: Option<Template>,
}

/// Starts an appliance. One that was restored has this host's clock and new random numbers.
pub(crate) async fn start(
    config: &ApplianceConfig,
    spec: &TemplateSpec,
    storage: Storage<'_>,
) -> Result<RunningAppliance, BootError> {
    if spec.enabled {
        match restored(config, spec.max_bytes, &storage).await {
            Ok(started) => return Ok(started),
            Err(error) => {
                let deserves_warning = error.deserves_warning();
                let error = anyhow::Error::from(error);
                match deserves_warning {
                    true => tracing::warn!("{error:#}; the appliance is booted"),
                    false => tracing::debug!("{error:#}; the appliance is booted"),
                }
            }
        }
    }
    let Storage {
        drives,
        disks,
        max_write,
    } = storage;
    Ok(RunningAppliance {
        appliance: boot::boot(config, drives, disks, max_write).await?,
        template: None,
    })
}

async fn restored(
    config: &ApplianceConfig,
    limit: u64,
    storage: &Storage<'_>,
) -> Result<RunningAppliance, TemplateError> {
    let (slot, template) = template(config, storage.disks.len(), limit).await?;
    config.phases.mark(match template {
        Template::Stored(_) => "template",
        Template::Fresh(_) => "built",
    });
    match restore(config, &template, storage).await {
        Ok(appliance) => Ok(RunningAppliance {
            appliance,
            template: Some(template),
        }),
        Err(error) => {
            mark_unusable(&slot, template, &error);
            Err(error)
        }
    }
}

/// The template of the appliance with `disks` disks: from the store, else built.
pub(crate) async fn template(
    config: &ApplianceConfig,
    disks: usize,
    limit: u64,
) -> Result<(TemplateSlot, Template), TemplateError> {
    let slot = TemplateSlot {
        store: Store::open()?,
        key: Key::of_appliance(config, disks)?,
        limit,
    };
    let template = get_or_build(&slot, Builder { config, disks }).await?;
    Ok((slot, template))
}

/// Restores an appliance with disks in place of its placeholders.
async fn restore(
    config: &ApplianceConfig,
    template: &Template,
    storage: &Storage<'_>,
) -> Result<Appliance, TemplateError> {
    let config = &config.with_one_accelerator();
    let count = storage.disks.len();
    let channels = Channels::new(true)?;
    let plan = boot::plan(config, storage.disks.clone(), AppliancePorts::of(&channels));
    let saving = |memory, mapping| saving(memory, mapping, count);
    let (drives, phases) = (storage.drives, &config.phases);
    let resources = boot::headless(channels, drives.files(), storage.max_write);
    let mut machine = start_restored(plan, saving, template, drives, resources, phases).await?;
    machine.cont().await?;
    phases.mark("running");
    for (index, bytes) in drives.disk_sizes().iter().enumerate().take(count) {
        machine.grow_disk(index, *bytes).await?;
    }
    phases.mark("disks");
    let session = resume(&mut machine, phases).await?;
    tracing::debug!("the appliance is restored from its template");
    Ok(Appliance { machine, session })
}

fn saving(memory: ChildFd, mapping: MemoryMapping, placeholders: usize) -> SnapshotConfig {
    SnapshotConfig {
        memory,
        mapping,
        placeholder_disks: placeholders,
        generation_id: false,
    }
}

/// Boots an appliance with placeholder disks, and saves it.
struct Builder<'a> {
    config: &'a ApplianceConfig,
    disks: usize,
}

impl SnapshotBuilder for Builder<'_> {
    type Error = TemplateError;

    async fn wait<T>(&mut self, lookup: impl Future<Output = T>) -> Result<T, TemplateError> {
        Ok(lookup.await)
    }

    async fn build(&mut self) -> Result<Snapshot, TemplateError> {
        let config = &self.config.with_one_accelerator();
        let made = appliance::make(&config.kernel).map_err(BootError::from)?;
        let memory = memory::new(config.memory_mib)?;
        let channels = Channels::new(true)?;
        let ports = AppliancePorts::of(&channels).with_kernel(&made.kernel, &made.initramfs);
        let fd = ChildFd(memory.as_raw_fd());
        let plan = Plan {
            snapshot: Some(saving(fd, MemoryMapping::Shared, self.disks)),
            ..boot::plan(config, Vec::new(), ports)
        };
        let files = vec![memory.as_fd(), made.kernel.as_fd(), made.initramfs.as_fd()];
        let resources = boot::headless(channels, files, None);
        let mut machine = Machine::start(plan.qemu.clone(), &argv(&plan), resources).await?;
        machine.cont().await?;
        let session = boot::connect(&mut machine, boot::BOOT_LIMIT).await?;
        session.warm().await?;
        // Its code and what it reads are in memory then.
        session.survey(0).await?;
        // The session stays: a port whose other end is closed is not idle.
        let snapshot = take_snapshot(machine, &plan, memory, Vec::new()).await;
        drop(session);
        snapshot
    }

    fn template_error(error: &TemplateError) -> Option<&TemplateError> {
        Some(error)
    }
}
