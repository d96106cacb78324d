//! Machines that are kept, copied and put back while they run.
//!
//! A [`LiveVm`] is a running machine with its agent, apart from the [`Launch`](super::start::Launch)
//! that started it. [`LiveVm::checkpoint`] saves it, memory included, in a pause of some milliseconds.
//! A [`Checkpoint`] lives in this process only: its memory is a sealed file in memory, its disks are
//! unnamed overlays that nothing writes to any more. [`Checkpoint::branch`] starts another machine
//! from it, which goes on where the first one was, with random numbers, clock, generation id and MAC
//! address of its own; [`LiveVm::revert`] puts such a branch in the place of a machine.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;

use super::failure::Failure;
use super::prepare::PreparedVm;
use super::screen::Screen;
use super::spec::AgentSpec;
use super::start::RunningVm;
use crate::appliance::boot::{self, BootError};
use crate::exit::Status;
use crate::machine::console::Sinks;
use crate::machine::drives::Drives;
use crate::machine::end::End;
use crate::machine::phases::Phases;
use crate::machine::plan::{Accelerator, Display, Network, Plan, Publish};
use crate::machine::{Machine, MachineEvent};
use crate::protocol::CloneIdentity;
use crate::session::{Session, SessionError, random};
use crate::template::TemplateError;
use crate::template::checkpoint::take_checkpoint;
use crate::template::restore::{Template, answered, resume_branch, start_restored};
use crate::template::snapshot::Snapshot;

/// How long after its agent's end a machine's own end may follow.
const END_FOLLOWS: Duration = Duration::from_secs(1);

/// A running machine whose agent is ready. Dropped, it is killed.
#[derive(Debug)]
pub struct LiveVm {
    pub(super) vm: PreparedVm,
    pub(super) running: RunningVm,
    pub(super) phases: Phases,
    /// Where the output of its console goes, of a branch.
    pub(super) output: Option<mpsc::Sender<Vec<u8>>>,
}

/// A machine as it was. Clones share it; when the last one is dropped, nothing of it is left but in
/// the branches that run.
#[derive(Clone, Debug)]
pub struct Checkpoint(Rc<Saved>);

#[derive(Debug)]
struct Saved {
    plan: Plan,
    /// With the saved overlays as their top layers.
    drives: Drives,
    max_write: Option<u64>,
    headline: String,
    template: Template,
}

/// What makes a branch differ.
#[derive(Debug, Default)]
pub struct BranchSpec {
    /// A host name; that of the checkpoint by default.
    pub hostname: Option<String>,
    /// Gives it a machine-id of its own.
    pub new_machine_id: bool,
    /// Ports of this host that lead to it. None by default: those of the checkpoint's machine are taken.
    pub publish: Vec<Publish>,
    /// Where the output of its serial console goes.
    pub output: Option<mpsc::Sender<Vec<u8>>>,
}

impl BranchSpec {
    fn identity(&self, network: &Network) -> Result<Option<CloneIdentity>, SessionError> {
        let asked = AgentSpec {
            hostname: self.hostname.clone(),
            new_machine_id: self.new_machine_id,
            ..AgentSpec::default()
        };
        let mut identity = asked.identity()?;
        if *network != Network::None {
            // The machine that was saved keeps its own.
            let [a, b, c] = random()?;
            identity.get_or_insert_default().hardware_address = Some([0x52, 0x54, 0, a, b, c]);
        }
        Ok(identity)
    }
}

/// Why a branch did not start: as of a guest that failed, where it is at fault.
fn not_started(error: TemplateError, vm: &PreparedVm) -> Failure {
    match error {
        TemplateError::Agent(error) => error.into(),
        TemplateError::Boot(BootError::Agent { source, .. }) => source.into(),
        TemplateError::Boot(BootError::Ended { end, console }) => vm.failure(&end, &console),
        other => other.into(),
    }
}

/// Fails if a machine of this plan cannot be saved while it goes on.
fn check_goes_on(plan: &Plan) -> Result<(), Failure> {
    if plan.display != Display::None {
        let why = anyhow!("a machine with a screen cannot be saved while it goes on");
        return Err(Failure::with_hint(why, "start it without --display"));
    }
    if matches!(plan.network, Network::Internet { .. }) {
        let why = anyhow!("a machine with --net internet cannot be saved while it goes on");
        return Err(Failure::with_hint(why, "start it with --net user"));
    }
    Ok(())
}

/// Saves a running machine of `vm`, which goes on over new overlays. What it was is in the layers of
/// its disks then. Returns the plan of its branches, too.
pub(super) async fn snapshot_of(
    machine: &mut Machine,
    session: &Session,
    vm: &mut PreparedVm,
    phases: &Phases,
) -> Result<(Plan, Snapshot), Failure> {
    check_goes_on(&vm.plan)?;
    let uses_kvm = machine.uses_kvm().await?;
    let mut plan = vm.plan.clone();
    // A branch must not have another.
    plan.accelerator = match uses_kvm {
        true => Accelerator::Kvm,
        false => Accelerator::Tcg,
    };
    if let Network::User { publish, .. } = &mut plan.network {
        publish.clear();
    }
    let snapshot = take_checkpoint(machine, session, &mut vm.drives, &plan, phases).await?;
    Ok((plan, snapshot))
}

impl LiveVm {
    /// A machine that was started from `vm`.
    pub(crate) fn new(vm: PreparedVm, running: RunningVm) -> Self {
        Self {
            vm,
            running,
            phases: Phases::default(),
            output: None,
        }
    }

    /// The conversation with its agent. [`LiveVm::revert`] begins another one.
    pub fn session(&self) -> &Session {
        &self.running.session
    }

    /// Takes another session, with the agent of a guest that was reset.
    pub(crate) fn set_session(&mut self, session: Session) {
        self.running.session = session;
    }

    /// The process id of its QEMU.
    pub fn id(&self) -> Option<u32> {
        self.running.machine.id()
    }

    pub(crate) fn machine(&mut self) -> &mut Machine {
        &mut self.running.machine
    }

    pub(crate) fn drives(&self) -> &Drives {
        &self.vm.drives
    }

    /// The phases of its last checkpoint, branch or revert.
    pub fn phases(&self) -> &Phases {
        &self.phases
    }

    /// Does any work with the session. It fails early if the machine ends. Signals are not listened to.
    pub async fn run<T, E: Into<Failure>>(
        &mut self,
        work: impl AsyncFnOnce(&Session) -> Result<T, E>,
    ) -> Result<T, Failure> {
        let session = self.running.session.clone();
        let failure = tokio::select! {
            biased;
            done = work(&session) => match done {
                Ok(done) => return Ok(done),
                Err(error) => error.into(),
            },
            failure = self.ended() => return Err(failure),
        };
        if failure.status != Status::GuestCrashed {
            return Err(failure);
        }
        // The machine's own end says more.
        let ended = tokio::time::timeout(END_FOLLOWS, self.ended()).await;
        Err(ended.unwrap_or(failure))
    }

    /// Waits for the machine's end, and says how it ended. May be dropped and called again.
    pub async fn ended(&mut self) -> Failure {
        loop {
            match self.machine().next().await {
                Ok(MachineEvent::Ended(end)) => return self.failure(&end),
                Ok(MachineEvent::Console(_) | MachineEvent::Reset) => {}
                Err(error) => {
                    return anyhow::Error::from(error)
                        .context("running the machine")
                        .into();
                }
            }
        }
    }

    /// Its end, as an error.
    pub(crate) fn failure(&self, end: &End) -> Failure {
        self.vm.failure(end, &self.running.machine.console_tail())
    }

    /// Saves the machine, which goes on after a short pause, as do its session and commands. With
    /// `sync` the guest writes everything to its disks before. After an error the machine goes on;
    /// it is of no use if this is dropped half way.
    pub async fn checkpoint(&mut self, sync: bool) -> Result<Checkpoint, Failure> {
        check_goes_on(&self.vm.plan)?;
        self.phases = Phases::default();
        if sync {
            self.run(async |session| session.sync().await).await?;
            self.phases.mark("synced");
        }
        let (machine, session) = (&mut self.running.machine, &self.running.session);
        let (plan, snapshot) = snapshot_of(machine, session, &mut self.vm, &self.phases).await?;
        let (drives, _) = self.drives().branch()?;
        self.phases.mark("checkpoint");
        Ok(Checkpoint(Rc::new(Saved {
            plan,
            drives,
            max_write: self.vm.max_write,
            headline: self.vm.headline.clone(),
            template: Template::Fresh(snapshot),
        })))
    }

    /// Puts a branch of `to`, a checkpoint of this machine or another, in the place of this machine,
    /// which is ended. It keeps the published ports of this machine, unless `spec` has others. After an
    /// error this machine goes on, unless it had published ports.
    pub async fn revert(&mut self, to: &Checkpoint, mut spec: BranchSpec) -> Result<(), Failure> {
        if spec.publish.is_empty()
            && let Network::User { publish, .. } = &self.vm.plan.network
            && !publish.is_empty()
        {
            spec.publish.clone_from(publish);
            let stopped = self.running.machine.stop(Duration::ZERO).await;
            stopped.context("ending QEMU, which has the published ports")?;
        }
        let branch = to.branch(spec).await?;
        let old = std::mem::replace(self, branch);
        // The kernel takes a while to free its memory, for which nobody has to wait.
        tokio::task::spawn_local(old.stop());
        self.phases.mark("reverted");
        Ok(())
    }

    /// Stops the CPUs when everything is on the disks, for some work with them. The machine goes on
    /// then, also after an error; it is of no use if this is dropped half way.
    pub(crate) async fn stand_still<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Machine, &PreparedVm) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.run(async |session| session.sync().await).await?;
        let machine = &mut self.running.machine;
        machine.pause().await?;
        let done = work(machine, &self.vm).await;
        machine.cont().await?;
        done
    }

    /// Ends the machine at once: nothing in it is kept.
    pub async fn stop(mut self) -> Result<(), Failure> {
        let stopped = self.running.machine.stop(Duration::ZERO).await;
        Ok(stopped.context("ending QEMU")?)
    }
}

impl Checkpoint {
    /// Starts a machine that goes on where the checkpoint was made, as do the commands that ran then;
    /// what they write is dropped.
    pub async fn branch(&self, spec: BranchSpec) -> Result<LiveVm, Failure> {
        let phases = Phases::default();
        let (drives, disks) = self.drives().branch()?;
        let mut plan = self.0.plan.clone();
        match &mut plan.network {
            Network::User { publish, .. } => publish.clone_from(&spec.publish),
            Network::None | Network::Internet { .. } if spec.publish.is_empty() => {}
            Network::None | Network::Internet { .. } => {
                return Err(anyhow!("the machine has no network with published ports").into());
            }
        }
        plan.put_on(disks);
        let mut vm = PreparedVm {
            plan,
            drives,
            max_write: self.0.max_write,
            console_log: None,
            headline: self.0.headline.clone(),
            screen: Screen::default(),
            boot_stop: None,
        };
        let output = spec.output.clone();
        let started = self.start(&mut vm, spec, &phases).await;
        let (machine, session) = started.map_err(|error| not_started(error, &vm))?;
        phases.mark("branch");
        let running = RunningVm::new(machine, session, None);
        Ok(LiveVm {
            vm,
            running,
            phases,
            output,
        })
    }

    async fn start(
        &self,
        vm: &mut PreparedVm,
        spec: BranchSpec,
        phases: &Phases,
    ) -> Result<(Machine, Session), TemplateError> {
        let identity = spec.identity(&vm.plan.network)?;
        let channels = boot::open_channels(&mut vm.plan)?;
        let template = &self.0.template;
        let mut plan = vm.plan.clone();
        plan.snapshot = Some(template.snapshot_config(0, true));
        let sinks = Sinks {
            output: spec.output,
            log: None,
        };
        let resources = vm.resources(channels, sinks, mpsc::channel(1).1);
        let started = start_restored(plan, template, &vm.drives, resources, phases).await;
        let mut machine = started?;
        if template.is_other(machine.version().numbers) {
            return Err(TemplateError::OtherQemu);
        }
        if let Network::User {
            publish,
            restricted,
        } = &vm.plan.network
        {
            machine.renew_network(publish, *restricted).await?;
        }
        machine.cont().await?;
        phases.mark("running");
        let session = resume_branch(&mut machine, phases).await?;
        if let Some(identity) = identity {
            answered(session.identify(identity)).await?;
        }
        if vm.plan.reboot {
            machine.forbid_reset().await?;
        }
        Ok((machine, session))
    }

    /// Its disks, as they were: the saved overlay is the top layer of each chain.
    pub(crate) fn drives(&self) -> &Drives {
        &self.0.drives
    }

    /// How much memory it takes, in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.template.memory_bytes()
    }
}
