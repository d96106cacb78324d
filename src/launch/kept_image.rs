//! The template of an appliance that has looked at an image: its disks are known, and the root is
//! mounted. A clone answers without doing that again. Unlike the template of the appliance, it holds what
//! is in the image.

use super::image_template::{changeable_layer, check_layers, overlay_files, remote_layer};
use super::spec::TemplateSpec;
use super::start::RunningVm;
use crate::appliance::boot::{self, ApplianceConfig, ROOT, Storage};
use crate::machine::drives::Drives;
use crate::machine::phases::Phases;
use crate::machine::plan::{Disk, Plan};
use crate::protocol::disks::{Mount, Survey};
use crate::protocol::warning::WarningCode;
use crate::session::SessionError;
use crate::template::error::BUILD_LIMIT;
use crate::template::key::Key;
use crate::template::lookup::{SnapshotBuilder, TemplateSlot, get_or_build};
use crate::template::restore::{Template, resume, start_restored};
use crate::template::save::take_snapshot;
use crate::template::snapshot::Snapshot;
use crate::template::{Store, TemplateError, memory};

/// What is mounted in the template, if that is clear.
pub(crate) type Mounted = fn(&Survey) -> Option<Vec<Mount>>;

/// An appliance with an image, and its template.
pub(super) struct KeptImage<'a> {
    pub config: &'a ApplianceConfig,
    pub template: &'a TemplateSpec,
    pub max_write: Option<u64>,
    pub mounted: Mounted,
}

/// Why the image cannot be kept: changes of it would not be noticed.
pub(super) fn why_ineligible(drives: &Drives) -> Option<String> {
    remote_layer(drives).or_else(|| changeable_layer(drives.chains()))
}

impl KeptImage<'_> {
    /// Restores the appliance from its template, which is built first if it is missing, and puts its
    /// overlays below those of `drives`.
    pub async fn start(
        &self,
        drives: &mut Drives,
        disks: Vec<Disk>,
    ) -> Result<RunningVm, TemplateError> {
        let slot = TemplateSlot {
            store: Store::open()?,
            key: Key::of_inspection(self.config, disks.clone(), drives.chains())?,
            limit: self.template.max_bytes,
            patience: BUILD_LIMIT,
            is_unsaved: false,
        };
        let storage = Storage {
            drives,
            disks: disks.clone(),
            max_write: self.max_write,
        };
        let builder = Builder {
            image: self,
            storage: &storage,
        };
        let template = get_or_build(&slot, builder).await?;
        let phases = &self.config.phases;
        phases.mark(match template {
            Template::Stored(_) => "template",
            Template::Fresh(_) => "built",
        });
        let mut plan = boot::plan(&self.config.with_one_accelerator(), disks);
        plan.put_on(drives.push_layer(&template.overlays())?);
        let restored = self.restore(&template, drives, plan).await;
        let (vm, template) = slot.settle(template, restored)?;
        Ok(RunningVm {
            template: Some(template),
            ..vm
        })
    }

    async fn restore(
        &self,
        template: &Template,
        drives: &Drives,
        mut plan: Plan,
    ) -> Result<RunningVm, TemplateError> {
        let channels = boot::open_channels(&mut plan)?;
        plan.snapshot = Some(template.snapshot_config(0, false));
        let resources = boot::headless(channels, drives, Vec::new(), self.max_write);
        let phases = &self.config.phases;
        let mut machine = start_restored(plan, template, drives, resources, phases).await?;
        machine.cont().await?;
        phases.mark("running");
        let session = resume(&mut machine, phases).await?;
        Ok(RunningVm::new(machine, session, None))
    }
}

/// Boots an appliance with the image, has it look at that, and saves it.
struct Builder<'a> {
    image: &'a KeptImage<'a>,
    storage: &'a Storage<'a>,
}

impl SnapshotBuilder for Builder<'_> {
    type Error = TemplateError;

    async fn build(&mut self) -> Result<Snapshot, TemplateError> {
        let config = ApplianceConfig {
            // Those of the caller are of the clone.
            phases: Phases::default(),
            ..self.image.config.with_one_accelerator()
        };
        let (drives, disks) = (self.storage.drives, &self.storage.disks);
        let memory = memory::new(config.memory_mib)?;
        let booting = boot::boot(&config, self.storage, Some((&memory, 0)));
        let (machine, session) = booting.await?;
        session.set_clock().await?;
        session.warm().await?;
        let survey = session.kept_survey(disks.len()).await?;
        // It may have a passing reason.
        let mut warnings = survey.warnings.iter();
        if let Some(warning) = warnings.find(|warning| warning.code == WarningCode::Disk) {
            return Err(TemplateError::Ineligible(warning.to_string()));
        }
        if let Some(mounts) = (self.image.mounted)(&survey) {
            let mounted = session.mount(&mounts, ROOT, true, false).await;
            match mounted {
                Ok(failed) if !failed.iter().any(|mount| mount.missing) => {}
                // Each clone tries it again.
                Ok(_) | Err(SessionError::Refused(_)) => session.unmount(ROOT).await?,
                Err(error) => return Err(error.into()),
            }
        }
        check_layers(drives.chains())?;
        let plan = boot::plan(&config, disks.clone());
        let snapshot = take_snapshot(machine, &plan, memory, overlay_files(drives)?).await;
        drop(session);
        snapshot
    }

    fn template_error(error: &TemplateError) -> Option<&TemplateError> {
        Some(error)
    }
}
