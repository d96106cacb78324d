//! The template of a machine that boots an image: found in the store, or built by booting the
//! machine, with the agent injected, until nothing is being started any more.

use std::fs::File;
use std::future::Future;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;

use super::failure::Failure;
use super::inject::inject;
use super::prepare::PreparedVm;
use super::spec::{SavedMachine, Via, VmSpec, WaitFor};
use super::start::Launch;
use super::supervisor::Interrupted;
use crate::image::chain::Chain;
use crate::image::file_kind::FileKind;
use crate::machine::Machine;
use crate::machine::console::Sinks;
use crate::machine::drives::Drives;
use crate::machine::plan::{ChildFd, MemoryMapping, SnapshotConfig};
use crate::session::{Command, Session, SessionError};
use crate::template::error::BUILD_LIMIT;
use crate::template::key::Key;
use crate::template::lookup::{SnapshotBuilder, TemplateSlot, get_or_build};
use crate::template::restore::Template;
use crate::template::save::take_snapshot;
use crate::template::snapshot::Snapshot;
use crate::template::{Store, TemplateError, memory};

/// How long a guest may be busy after its boot before it is saved all the same.
const BUSY_LIMIT: Duration = Duration::from_secs(60);

/// A guest is idle if its CPUs worked for less than `IDLE` during `INTERVAL`.
const INTERVAL: Duration = Duration::from_millis(500);
const IDLE: Duration = Duration::from_millis(75);

/// Why a machine is not restored.
#[derive(Debug)]
pub(crate) enum NotRestored {
    /// There is no usable template; the machine can be booted.
    Template(TemplateError),
    /// Something that would keep the machine from booting, too.
    Failed(Failure),
}

impl From<TemplateError> for NotRestored {
    fn from(error: TemplateError) -> Self {
        Self::Template(error)
    }
}

impl From<Failure> for NotRestored {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<NotRestored> for Failure {
    fn from(error: NotRestored) -> Self {
        match error {
            NotRestored::Template(error) => error.into(),
            NotRestored::Failed(failure) => failure,
        }
    }
}

impl Launch<'_> {
    /// The template of the machine after its steps: from the store, else built. With an image on another
    /// host it is built by this process for itself, if it `may_be_unsaved`.
    pub async fn template(
        &mut self,
        may_be_unsaved: bool,
    ) -> Result<(TemplateSlot, Template), NotRestored> {
        let checked = self.check_boot_sectors();
        checked.map_err(|interrupted| self.failed(interrupted))?;
        let slot = slot(self, may_be_unsaved)?;
        let (slot, template) = Box::pin(self.after_steps(slot)).await?;
        self.facts.template.get_or_insert("restored");
        self.facts.phases.mark("template");
        Ok((slot, template))
    }

    /// The template of the booted machine.
    pub(super) async fn base_template(
        &mut self,
        slot: &TemplateSlot,
    ) -> Result<Template, NotRestored> {
        if let Some(saved) = &self.spec.from {
            return Err(TemplateError::Gone(saved.name.clone()).into());
        }
        Box::pin(get_or_build(slot, Builder(self))).await
    }
}

/// The key of the machine after its boot, for a template that others will find.
pub(super) fn base_key(vm: &PreparedVm, spec: &VmSpec) -> Result<Key, TemplateError> {
    match remote_layer(&vm.drives) {
        Some(why) => Err(TemplateError::Ineligible(why)),
        None => eligible_key(vm, spec),
    }
}

/// Which layer is an image of a server, and why that matters.
pub(super) fn remote_layer(drives: &Drives) -> Option<String> {
    let remotes = drives.remotes();
    let url = remotes.first()?.url.as_str();
    Some(format!(
        "{url} is an image of a server, whose changes leave no trace here"
    ))
}

fn eligible_key(vm: &PreparedVm, spec: &VmSpec) -> Result<Key, TemplateError> {
    let chains = vm.drives.chains();
    if let Some(why) = why_ineligible(chains, spec) {
        return Err(TemplateError::Ineligible(why));
    }
    let stage = match spec.agent.wait_for {
        WaitFor::Basic => "basic",
        // It is not saved while anything is still being started.
        WaitFor::MultiUser | WaitFor::Running => "running",
    };
    Ok(Key::of_image(&vm.plan, chains, stage)?)
}

fn slot(launch: &Launch<'_>, may_be_unsaved: bool) -> Result<TemplateSlot, TemplateError> {
    let is_unsaved = may_be_unsaved && !launch.vm.drives.remotes().is_empty();
    let key = match is_unsaved {
        true => eligible_key(&launch.vm, launch.spec)?,
        false => base_key(&launch.vm, launch.spec)?,
    };
    Ok(TemplateSlot {
        key: match &launch.spec.from {
            Some(saved) => saved_key(saved, &key)?,
            None => key,
        },
        store: Store::open()?,
        limit: launch.spec.template.max_bytes,
        patience: BUILD_LIMIT,
        is_unsaved,
    })
}

/// The key of a machine that was saved under a name; `now` is that of the machine before its steps,
/// as this host would make it.
fn saved_key(saved: &SavedMachine, now: &Key) -> Result<Key, TemplateError> {
    let key = &*saved.key;
    let changed = Key {
        steps: key.steps.clone(),
        saved: key.saved.clone(),
        ..now.clone()
    };
    match key.difference(&changed) {
        None => Ok(changed),
        Some(what) => Err(TemplateError::Changed {
            name: saved.name.clone(),
            what,
        }),
    }
}

/// Why a machine with these images cannot have a template: changes of something in it would not be
/// noticed, or nothing in it could tell its clones apart.
fn why_ineligible(chains: &[Chain], spec: &VmSpec) -> Option<String> {
    if spec.agent.via == Via::Qga {
        return Some("the QEMU guest agent cannot tell clones apart".to_owned());
    }
    if !spec.qemu_args.is_empty() {
        return Some("--qemu-arg may name files, whose changes would not be seen".to_owned());
    }
    changeable_layer(chains)
}

/// Which layer could be changed without a trace, and why.
pub(super) fn changeable_layer(chains: &[Chain]) -> Option<String> {
    let layers = || chains.iter().flat_map(Chain::layers);
    let why = |path: &Path, why| Some(format!("{} {why}", path.display()));
    if let Some(device) = layers().find(|layer| layer.kind() == FileKind::BlockDevice) {
        return why(
            device.path(),
            "is a block device, whose changes leave no trace",
        );
    }
    let written = layers().find(|layer| layer.in_use())?;
    why(written.path(), "is being written by another process")
}

struct Builder<'l, 'a>(&'l mut Launch<'a>);

impl SnapshotBuilder for Builder<'_, '_> {
    type Error = NotRestored;

    async fn wait<T>(&mut self, lookup: impl Future<Output = T>) -> Result<T, NotRestored> {
        let guarded = self.0.supervisor.guard(lookup).await;
        guarded.map_err(|stopped| NotRestored::Failed(stopped.into()))
    }

    async fn build(&mut self) -> Result<Snapshot, NotRestored> {
        let launch = &mut *self.0;
        if !inject(launch).await? {
            let why = "its disks hold no system that could start bivouac's agent";
            return Err(TemplateError::Ineligible(why.to_owned()).into());
        }
        let headline = format!("{}, to be saved", launch.vm.headline);
        launch.progress.status(&headline);
        let memory = new_memory(launch, MemoryMapping::Shared)?;
        let input = mpsc::channel(1).1;
        let started = launch.start(Sinks::default(), input, Some(&memory)).await;
        let mut machine = started.map_err(|interrupted| launch.failed(interrupted))?;
        machine
            .snapshot_allowed()
            .await
            .map_err(TemplateError::from)?;
        let uses_kvm = launch.facts.accelerator.used == Some("kvm");
        if uses_kvm != launch.vm.plan.accelerator.may_be_kvm() {
            return Err(TemplateError::Accelerator.into());
        }
        let booted = boot_until_idle(launch, &mut machine).await;
        let session = booted.map_err(|interrupted| launch.failed(interrupted))?;
        launch.facts.phases.mark("booted");
        check_layers(launch.vm.drives.chains())?;
        let overlays = overlay_files(&launch.vm.drives)?;
        let saving = take_snapshot(machine, &launch.vm.plan, memory, overlays);
        let snapshot = launch.supervisor.guard(saving).await;
        drop(session);
        let snapshot = snapshot.map_err(Failure::from)??;
        launch.facts.template = Some("built");
        launch.facts.phases.mark("saved");
        launch.progress.status("keeping the template");
        Ok(snapshot)
    }

    fn template_error(error: &NotRestored) -> Option<&TemplateError> {
        match error {
            NotRestored::Template(error) => Some(error),
            NotRestored::Failed(_) => None,
        }
    }
}

/// The overlays of a machine, to be read or filled by this process.
pub(super) fn overlay_files(drives: &Drives) -> Result<Vec<File>, TemplateError> {
    let overlays = drives.overlays().iter();
    let files = overlays.map(|overlay| Ok(overlay.as_fd().try_clone_to_owned()?.into()));
    files.collect()
}

/// A file for the guest's memory, in the plan.
pub(super) fn new_memory(launch: &mut Launch<'_>, mapping: MemoryMapping) -> Result<File, Failure> {
    let memory = memory::new(launch.vm.plan.memory_mib).context("the guest's memory")?;
    launch.vm.plan.snapshot = Some(SnapshotConfig {
        memory: ChildFd(memory.as_raw_fd()),
        mapping,
        empty_disks: 0,
        generation_id: true,
        devices_only: false,
    });
    Ok(memory)
}

/// Refuses images that were changed while the machine booted.
pub(super) fn check_layers(chains: &[Chain]) -> Result<(), TemplateError> {
    for layer in chains.iter().flat_map(Chain::layers) {
        let is_local = layer.remote().is_none();
        if is_local && layer.identity_now().ok() != Some(layer.identity()) {
            let why = format!("{} was changed meanwhile", layer.path().display());
            return Err(TemplateError::Ineligible(why));
        }
    }
    Ok(())
}

async fn boot_until_idle(
    launch: &mut Launch<'_>,
    machine: &mut Machine,
) -> Result<Session, Interrupted> {
    let all_started = launch.spec.agent.wait_for != WaitFor::Basic;
    let session = launch.wait_for_agent(machine, all_started).await?;
    let idle = wait_until_idle(&session, machine.id());
    launch.supervisor.run(machine, idle).await??;
    Ok(session)
}

/// Writes everything to the disks, and waits until the guest does little: what it is doing when it
/// is saved, every clone does again.
pub(super) async fn wait_until_idle(
    session: &Session,
    process: Option<u32>,
) -> Result<(), SessionError> {
    // What every command needs is in memory then.
    let command = Command {
        argv: ["/bin/sh", "-c", ":"].map(Into::into).into(),
        ..Command::default()
    };
    match session.exec(command).await {
        Ok(mut exec) => drop(exec.wait().await?),
        Err(SessionError::Refused(error)) => tracing::debug!("{error}"),
        Err(error) => return Err(error),
    }
    session.sync().await?;
    let started = tokio::time::Instant::now();
    let mut before = process.and_then(cpu_time);
    while before.is_some() && started.elapsed() < BUSY_LIMIT {
        tokio::time::sleep(INTERVAL).await;
        let now = process.and_then(cpu_time);
        match (before, now) {
            (Some(before), Some(now)) if now.saturating_sub(before) >= IDLE => {}
            _ => break,
        }
        before = now;
    }
    Ok(())
}

/// The CPU time of a process so far (proc(5)).
fn cpu_time(process: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, numbers) = text.rsplit_once(')')?;
    let mut ticks = numbers.split_ascii_whitespace().skip(11);
    let mut next = || ticks.next()?.parse::<u64>().ok();
    // On x86-64 the kernel counts a hundred of them a second for every program.
    Some(Duration::from_millis((next()? + next()?) * 10))
}
