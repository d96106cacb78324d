//! Starts an appliance: restored from its template, which is built first if it is missing, or
//! booted.
//!
//! The appliance is saved with empty disks, which have no byte. A restored one has the
//! image's disks in their place, and is told that they have grown. So a template never holds
//! anything of an image, no bus is searched after the restore, and one template serves all images.

use super::spec::TemplateSpec;
use super::start::RunningVm;
use crate::appliance::boot::{self, ApplianceConfig, BootError, Storage};
use crate::machine::Machine;
use crate::machine::drives::Drives;
use crate::machine::overlay::Place;
use crate::machine::phases::Phases;
use crate::session::Session;
use crate::template::error::BUILD_LIMIT;
use crate::template::key::Key;
use crate::template::lookup::{SnapshotBuilder, TemplateSlot, get_or_build};
use crate::template::restore::{Template, resume, start_restored};
use crate::template::save::take_snapshot;
use crate::template::snapshot::Snapshot;
use crate::template::{Store, TemplateError, memory};

/// Starts an appliance. One that was restored has this host's clock and new random numbers.
pub(crate) async fn start(
    config: &ApplianceConfig,
    spec: &TemplateSpec,
    storage: &Storage<'_>,
) -> Result<RunningVm, BootError> {
    if spec.enabled {
        match restored(config, spec.max_bytes, storage).await {
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
    let (machine, session) = boot::boot(config, storage, None).await?;
    Ok(RunningVm::new(machine, session, None))
}

async fn restored(
    config: &ApplianceConfig,
    limit: u64,
    storage: &Storage<'_>,
) -> Result<RunningVm, TemplateError> {
    let (slot, template) = template(config, storage.disks.len(), limit).await?;
    config.phases.mark(match template {
        Template::Stored(_) => "template",
        Template::Fresh(_) => "built",
    });
    let restored = restore(config, &template, storage).await;
    let ((machine, session), template) = slot.settle(template, restored)?;
    Ok(RunningVm::new(machine, session, Some(template)))
}

/// The template of the appliance with `disks` disks: from the store, else built.
pub(crate) async fn template(
    config: &ApplianceConfig,
    disks: usize,
    limit: u64,
) -> Result<(TemplateSlot, Template), TemplateError> {
    let slot = TemplateSlot {
        is_unsaved: false,
        store: Store::open()?,
        key: Key::of_appliance(config, disks)?,
        limit,
        patience: BUILD_LIMIT,
    };
    let template = get_or_build(&slot, Builder { config, disks }).await?;
    Ok((slot, template))
}

/// Restores an appliance with disks in place of its empty ones.
async fn restore(
    config: &ApplianceConfig,
    template: &Template,
    storage: &Storage<'_>,
) -> Result<(Machine, Session), TemplateError> {
    let count = storage.disks.len();
    let mut plan = boot::plan(&config.with_one_accelerator(), storage.disks.clone());
    let channels = boot::open_channels(&mut plan)?;
    plan.snapshot = Some(template.snapshot_config(count, false));
    let (drives, phases) = (storage.drives, &config.phases);
    let resources = boot::headless(channels, drives, Vec::new(), storage.max_write);
    let mut machine = start_restored(plan, template, drives, resources, phases).await?;
    machine.cont().await?;
    phases.mark("running");
    for (index, bytes) in drives.disk_sizes().iter().enumerate().take(count) {
        machine.grow_disk(index, *bytes).await?;
    }
    phases.mark("disks");
    let session = resume(&mut machine, phases).await?;
    tracing::debug!("the appliance is restored from its template");
    Ok((machine, session))
}

/// Boots an appliance with empty disks, and saves it.
struct Builder<'a> {
    config: &'a ApplianceConfig,
    disks: usize,
}

impl SnapshotBuilder for Builder<'_> {
    type Error = TemplateError;

    async fn build(&mut self) -> Result<Snapshot, TemplateError> {
        let config = ApplianceConfig {
            // Those of the caller are of the clone.
            phases: Phases::default(),
            ..self.config.with_one_accelerator()
        };
        let memory = memory::new(config.memory_mib)?;
        let no_storage = Storage {
            drives: &Drives::new(Place::Memory),
            disks: Vec::new(),
            max_write: None,
        };
        let booting = boot::boot(&config, &no_storage, Some((&memory, self.disks)));
        let (machine, session) = booting.await?;
        session.warm().await?;
        // Its code and what it reads are in memory then.
        session.survey(0).await?;
        // The session stays: a port whose other end is closed is not idle.
        let plan = boot::plan(&config, Vec::new());
        let snapshot = take_snapshot(machine, &plan, memory, Vec::new()).await;
        drop(session);
        snapshot
    }

    fn template_error(error: &TemplateError) -> Option<&TemplateError> {
        Some(error)
    }
}
