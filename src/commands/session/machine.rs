//! What a session holds of a machine: one that was booted or restored, or an appliance with an
//! image.

use std::time::Duration;

use anyhow::anyhow;

use crate::launch::appliance_session::ApplianceSession;
use crate::launch::prepare::PreparedVm;
use crate::launch::reboot;
use crate::launch::spec::{VmSpec, WaitFor};
use crate::launch::start::RunningVm;
use crate::launch::supervisor::Interrupted;
use crate::launch::Failure;
use crate::machine::Machine;
use crate::machine::end::End;
use crate::session::{Session, SessionError};

/// How a machine ended.
#[derive(Debug)]
pub(super) enum HowEnded {
    /// It was asked for.
    Stopped,
    PoweredOff(Failure),
    Failed(Failure),
}

/// Dropped, it kills QEMU.
pub(super) enum SessionMachine {
    Guest(Box<Guest>),
    Appliance(Box<ApplianceSession>),
}

/// A guest that was booted or restored.
pub(super) struct Guest {
    pub vm: PreparedVm,
    pub running: RunningVm,
    pub wait_for: WaitFor,
    pub boot_timeout: Option<Duration>,
}

impl SessionMachine {
    pub fn machine(&mut self) -> &mut Machine {
        match self {
            Self::Guest(guest) => &mut guest.running.machine,
            Self::Appliance(appliance) => &mut appliance.machine,
        }
    }

    pub fn session(&self) -> &Session {
        match self {
            Self::Guest(guest) => &guest.running.session,
            Self::Appliance(appliance) => &appliance.session,
        }
    }

    /// What the end of its machine means.
    pub fn ended_by(&mut self, end: End) -> HowEnded {
        let interrupted = Interrupted::ended(end.clone(), self.machine());
        let failure = match self {
            Self::Guest(guest) => guest.failed(interrupted),
            Self::Appliance(appliance) => appliance.failed(interrupted),
        };
        match end {
            End::PoweredOff => HowEnded::PoweredOff(failure),
            _ => HowEnded::Failed(failure),
        }
    }

    /// The guest was reset: waits until its agent answers again.
    pub async fn reboot(&mut self) -> Result<(), HowEnded> {
        let Self::Guest(guest) = self else {
            return Err(HowEnded::Failed(anyhow!("the appliance was reset").into()));
        };
        let rebooted = guest.reboot().await;
        rebooted.map_err(|interrupted| match interrupted {
            Interrupted::Ended { end, .. } => self.ended_by(end),
            Interrupted::Failed(failure) => HowEnded::Failed(failure),
        })
    }
}

impl Guest {
    /// A machine that may reboot from here on.
    pub async fn new(
        vm: PreparedVm,
        mut running: RunningVm,
        spec: &VmSpec,
    ) -> Result<Self, Failure> {
        running.machine.allow_reset().await?;
        Ok(Self {
            vm,
            running,
            wait_for: spec.agent.wait_for,
            boot_timeout: spec.boot_timeout,
        })
    }

    fn failed(&self, interrupted: Interrupted) -> Failure {
        interrupted.into_failure(|end, tail| self.vm.failure(end, tail))
    }

    async fn reboot(&mut self) -> Result<(), Interrupted> {
        let running = &mut self.running;
        let Some(port) = running.session.close(SessionError::Rebooted).await else {
            return Err(anyhow!("the session with the agent ended before the reboot").into());
        };
        let (wait_for, limit) = (self.wait_for, self.boot_timeout);
        let waiting = reboot::wait_for_agent(&mut running.machine, port, wait_for, limit);
        running.session = waiting.await?;
        Ok(())
    }
}
