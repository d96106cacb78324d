//! Branches: any number of machines at a time, each restored from one template, with disks and an
//! identity of its own.

use super::facts::Facts;
use super::failure::Failure;
use super::image_template::NotRestored;
use super::prepare::prepare;
use super::progress::{Progress, Quiet};
use super::spec::VmSpec;
use super::start::{Launch, RunningVm};
use super::step::same_images;
use super::supervisor::Supervisor;
use crate::image::chain::Chain;
use crate::machine::console_log::ConsoleLog;
use crate::machine::plan::Accelerator;
use crate::template::restore::Template;

/// A prepared machine, of which branches are made.
#[derive(Debug)]
pub(crate) struct Branches {
    spec: VmSpec,
    template: Template,
    /// The images, as they were when the machine was saved.
    chains: Vec<Chain>,
}

/// One machine, and what goes with it.
pub(crate) struct Branch<'a> {
    pub launch: Launch<'a>,
    pub running: RunningVm,
}

impl Launch<'_> {
    /// The machine of the spec after its steps: from the store, else built.
    pub async fn branches(&mut self) -> Result<Branches, Failure> {
        let (_slot, template) = match self.template(true).await {
            Ok(found) => found,
            Err(NotRestored::Failed(failure)) => return Err(failure),
            Err(NotRestored::Template(error)) => {
                return Err(Failure::from(error).context("the machine cannot be saved".to_owned()));
            }
        };
        let mut spec = self.spec.clone();
        // What was chosen once is not to be found out again by each.
        if spec.accelerator == Accelerator::KvmThenTcg && !self.vm.plan.accelerator.may_be_kvm() {
            spec.accelerator = Accelerator::Tcg;
        }
        let images = prepare(&spec, &mut Facts::default())?;
        same_images(self.vm.drives.chains(), images.drives.chains())?;
        Ok(Branches {
            spec,
            template: template.for_several()?,
            chains: images.drives.into_chains(),
        })
    }
}

impl Branches {
    /// Restores one more machine, whose console is copied to `console`. What is learnt of it goes
    /// into `facts`.
    pub async fn start<'a>(
        &'a self,
        facts: &'a mut Facts,
        console: Option<ConsoleLog>,
    ) -> Result<Branch<'a>, Failure> {
        let mut vm = prepare(&self.spec, facts)?;
        same_images(&self.chains, vm.drives.chains())?;
        vm.console_log = console;
        let quiet: &dyn Progress = &Quiet;
        let mut launch = Launch {
            spec: &self.spec,
            vm,
            supervisor: Supervisor::of_one_machine(),
            progress: quiet,
            facts,
        };
        let running = match launch.start_from(&self.template, None).await {
            Ok(running) => running,
            Err(error) => return Err(error.into()),
        };
        Ok(Branch { launch, running })
    }
}
