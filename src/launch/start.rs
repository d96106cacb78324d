//! Starts QEMU from a [`PreparedVm`].

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;

use super::facts::Facts;
use super::failure::Failure;
use super::prepare::PreparedVm;
use super::progress::Progress;
use super::spec::VmSpec;
use super::supervisor::{Interrupted, Stopped, Supervisor};
use crate::machine::console::Sinks;
use crate::machine::end::End;
use crate::machine::plan::Accelerator;
use crate::machine::{HeldResources, Machine, StartError};
use crate::session::Session;
use crate::template::restore::Template;

/// One VM on its way from its specification to a running machine, and what goes with it.
pub(crate) struct Launch<'a> {
    pub spec: &'a VmSpec,
    pub vm: PreparedVm,
    pub supervisor: Supervisor,
    pub progress: &'a dyn Progress,
    pub facts: &'a mut Facts,
}

/// A machine that runs, and whose agent is ready.
#[derive(Debug)]
pub(crate) struct RunningVm {
    /// Dropped, it kills QEMU.
    pub machine: Machine,
    pub session: Session,
    /// The console's input, of a machine that was restored.
    pub to_guest: Option<mpsc::Sender<Vec<u8>>>,
    /// Held while the machine runs, so that it is not removed. None if the machine was booted.
    pub template: Option<Template>,
}

impl RunningVm {
    /// A machine without input at its console.
    pub fn new(machine: Machine, session: Session, template: Option<Template>) -> Self {
        Self {
            machine,
            session,
            to_guest: None,
            template,
        }
    }
}

impl Launch<'_> {
    /// Starts QEMU and lets the CPUs run; dropping it half way kills QEMU. `memory` is the file of
    /// the guest's memory, if that is one.
    pub async fn start(
        &mut self,
        sinks: Sinks,
        input: mpsc::Receiver<Vec<u8>>,
        memory: Option<&File>,
    ) -> Result<Machine, Interrupted> {
        self.vm.screen.announce(self.progress)?;
        let channels = self.vm.connect().context("making QEMU's channels")?;
        let mut resources = self.vm.resources(channels, sinks, input);
        resources.files.extend(memory.map(AsFd::as_fd));
        let starting = start(&self.vm, resources, self.facts);
        match self.supervisor.guard(starting).await {
            Ok(machine) => Ok(machine?),
            Err(Stopped(end)) => Err(Interrupted::Ended {
                end,
                tail: Vec::new(),
            }),
        }
    }

    /// Fails if the first sectors of the image show that it cannot boot: its firmware would say nothing.
    pub fn check_boot_sectors(&self) -> Result<(), Interrupted> {
        match self.vm.boot_stop {
            None => Ok(()),
            Some(stop) => Err(Interrupted::Ended {
                end: End::BootFailed(stop),
                tail: Vec::new(),
            }),
        }
    }

    /// Why the machine did not boot, or its work was not done.
    pub fn failed(&self, interrupted: Interrupted) -> Failure {
        interrupted.into_failure(|end, tail| self.vm.failure(end, tail))
    }

    /// Ends the machine at once: nothing in it is kept.
    pub async fn stop(&mut self, mut machine: Machine) -> Result<(), Failure> {
        self.progress.clear_status();
        self.facts.phases.mark("ended");
        let stopped = machine.stop(Duration::ZERO).await;
        Ok(stopped.context("ending QEMU")?)
    }
}

async fn start(
    vm: &PreparedVm,
    resources: HeldResources<'_>,
    facts: &mut Facts,
) -> Result<Machine, Failure> {
    let mut machine = Machine::start(&vm.plan, resources).await?;
    facts.phases.mark("greeted");
    // QEMU has opened every image by now, and no guest has run.
    vm.drives.check_headers()?;
    let uses_kvm = record(&mut machine, facts).await?;
    if !uses_kvm && vm.plan.accelerator != Accelerator::Tcg {
        tracing::warn!("QEMU could not use KVM; the guest is emulated (TCG), which is slower");
    }
    vm.screen.open(&mut machine).await?;
    machine.cont().await?;
    facts.phases.mark("running");
    Ok(machine)
}

/// Records QEMU's version and accelerator. Whether it uses KVM.
pub(super) async fn record(machine: &mut Machine, facts: &mut Facts) -> Result<bool, StartError> {
    facts.qemu_version = Some(machine.version().to_string());
    facts.sandbox = Some(machine.sandbox().clone());
    facts.accelerator.record_used(machine).await
}
