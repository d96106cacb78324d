//! What a session has of a machine: a guest that was booted, restored or branched, or an appliance
//! with an image.

use std::rc::Rc;

use anyhow::anyhow;

use super::changes;
use crate::commands::args::command_line::CommandLine;
use crate::commands::args::saved::save_spec;
use crate::commands::diff::DiffOptions;
use crate::launch::appliance_session::ApplianceSession;
use crate::launch::keep::{Keep, KeepSpec, Kept};
use crate::launch::prepare::PreparedVm;
use crate::launch::supervisor::Interrupted;
use crate::launch::wait_again::wait_again;
use crate::launch::{BranchSpec, Checkpoint, Failure, LiveVm, VmSpec};
use crate::machine::Machine;
use crate::machine::end::End;
use crate::machine::phases::Phases;
use crate::rpc::changes::DiffResult;
use crate::rpc::line::to_value;
use crate::rpc::machines::PhaseTimes;
use crate::session::{Session, SessionError};

/// How a machine ended.
#[derive(Debug)]
pub(super) enum HowEnded {
    /// It was asked for.
    Stopped,
    PoweredOff(Failure),
    Failed(Failure),
}

/// A checkpoint, and what its branches need.
#[derive(Clone)]
pub(super) struct Saved {
    pub checkpoint: Checkpoint,
    origin: Rc<Origin>,
}

/// The session's first machine, from which the others come.
pub(super) struct Origin {
    pub spec: VmSpec,
    /// As it was given.
    pub typed: CommandLine,
}

/// Milliseconds by the name of each phase.
pub(super) fn phase_times(phases: &Phases) -> PhaseTimes {
    serde_json::from_value(to_value(phases)).unwrap_or_default()
}

/// Dropped, it kills QEMU.
pub(super) enum SessionMachine {
    Guest(Box<Guest>),
    Appliance(Box<ApplianceSession>),
}

/// A guest, which may reboot. One that was booted or restored does so in its QEMU. One that was saved
/// while it ran gets another at its first reset ([`LiveVm::restart`]).
pub(super) struct Guest {
    pub live: LiveVm,
    origin: Rc<Origin>,
}

impl SessionMachine {
    pub fn machine(&mut self) -> &mut Machine {
        match self {
            Self::Guest(guest) => guest.live.machine(),
            Self::Appliance(appliance) => &mut appliance.machine,
        }
    }

    pub fn session(&self) -> &Session {
        match self {
            Self::Guest(guest) => guest.live.session(),
            Self::Appliance(appliance) => &appliance.session,
        }
    }

    /// What the end of its machine means.
    pub fn ended_by(&mut self, end: End) -> HowEnded {
        let failure = match self {
            Self::Guest(guest) => guest.live.failure(&end),
            Self::Appliance(appliance) => {
                let interrupted = Interrupted::ended(end.clone(), &appliance.machine);
                appliance.failed(interrupted)
            }
        };
        match end {
            End::PoweredOff => HowEnded::PoweredOff(failure),
            _ => HowEnded::Failed(failure),
        }
    }

    /// The guest of a machine that has one.
    pub fn guest(&mut self) -> Result<&mut Guest, Failure> {
        match self {
            Self::Guest(guest) => Ok(guest),
            Self::Appliance(_) => Err(Failure::with_hint(
                anyhow!("an image that is inspected can neither reboot nor be saved"),
                "a session without --inspect",
            )),
        }
    }

    /// The phases of its last checkpoint or revert.
    pub fn phases(&self) -> PhaseTimes {
        match self {
            Self::Guest(guest) => phase_times(guest.live.phases()),
            Self::Appliance(_) => PhaseTimes::default(),
        }
    }

    /// Whether a guest that ended so is to boot again.
    pub fn boots_after(&self, end: &End) -> bool {
        matches!((self, end), (Self::Guest(_), End::Reset))
    }

    /// The guest was reset, and its machine may have `ended` with that: waits until its agent answers
    /// again.
    pub async fn reboot(&mut self, ended: bool) -> Result<(), HowEnded> {
        let guest = self.guest().map_err(HowEnded::Failed)?;
        let rebooted = guest.reboot(ended).await;
        rebooted.map_err(|interrupted| match interrupted {
            Interrupted::Ended { end, .. } => self.ended_by(end),
            Interrupted::Failed(failure) => HowEnded::Failed(failure),
        })
    }
}

impl Guest {
    /// A guest that was booted or restored.
    pub async fn new(mut live: LiveVm, origin: Rc<Origin>) -> Result<Self, Failure> {
        match live.has_firmware() {
            true => live.machine().allow_reset().await?,
            false => live.hold_at_reset().await?,
        }
        Ok(Self { live, origin })
    }

    async fn reboot(&mut self, ended: bool) -> Result<(), Interrupted> {
        let live = &mut self.live;
        let port = live.session().close(SessionError::Rebooted).await;
        let port = match (ended, port) {
            (false, Some(port)) => port,
            (true, _) => {
                let port = Box::pin(live.restart()).await?;
                live.machine().allow_reset().await?;
                port
            }
            (false, None) => {
                return Err(anyhow!("the session with the agent ended before the reboot").into());
            }
        };
        let (wait_for, limit) = (
            self.origin.spec.agent.wait_for,
            self.origin.spec.boot_timeout,
        );
        let waiting = wait_again(live.machine(), port, wait_for, limit);
        let session = waiting.await?;
        live.set_session(session);
        Ok(())
    }

    /// Saves it, and it goes on. It is of no use if this is dropped half way.
    pub async fn checkpoint(&mut self, sync: bool) -> Result<Saved, Failure> {
        Ok(Saved {
            checkpoint: self.live.checkpoint(sync).await?,
            origin: Rc::clone(&self.origin),
        })
    }

    /// Saves it under a name; returns that of the template.
    pub async fn save(&mut self, name: &str) -> Result<String, Failure> {
        let Origin { spec, typed } = &*self.origin;
        let from = spec.from.as_ref().map(|from| &*from.name);
        let spec = save_spec(name, typed, from)?;
        self.live.save(&spec).await
    }

    /// Makes images of its disks as they are.
    pub async fn keep(&mut self, spec: &KeepSpec) -> Result<Vec<Kept>, Failure> {
        let keeping = async |machine: &mut Machine, vm: &PreparedVm| {
            let mut keep = Keep::create(spec, &vm.drives, vm.plan.disks.len())?;
            keep.collect(machine, &vm.drives).await?;
            keep.publish(&vm.drives).await
        };
        self.live.stand_still(keeping).await
    }

    /// What it has changed on its disks.
    pub async fn diff(
        &mut self,
        options: DiffOptions,
        limit: usize,
    ) -> Result<DiffResult, Failure> {
        Box::pin(changes::compare(
            &mut self.live,
            &self.origin.spec,
            options,
            limit,
        ))
        .await
    }

    /// Puts a branch of `to` in its place. After an error it goes on.
    pub async fn revert(&mut self, to: &Saved, spec: BranchSpec) -> Result<(), Failure> {
        let before = std::mem::replace(self, Box::pin(to.branch(spec)).await?);
        // Everything that waits for the agent gets to know.
        before.live.session().close(SessionError::Reverted).await;
        before.live.stop().await
    }
}

impl Saved {
    /// Starts a machine that goes on where the checkpoint was made.
    pub async fn branch(&self, spec: BranchSpec) -> Result<Guest, Failure> {
        let mut live = self.checkpoint.branch(spec).await?;
        live.hold_at_reset().await?;
        Ok(Guest {
            live,
            origin: Rc::clone(&self.origin),
        })
    }
}
