//! Steps that prepare a machine: a command runs in a machine that is restored from one template, and
//! the machine is saved after it as the next. A step that was done is not done again.

use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;

use super::capture::{self, Captured};
use super::failure::Failure;
use super::image_template::{NotRestored, overlay_files, wait_until_idle};
use super::prepare::{PreparedVm, prepare};
use super::send_tree;
use super::spec::{CopySpec, Step};
use super::start::{Launch, record};
use crate::exit::Status;
use crate::image::chain::Chain;
use crate::machine::Machine;
use crate::machine::console::Sinks;
use crate::machine::drives::Drives;
use crate::session::{ExecEnd, Session};
use crate::template::key::{CopyKey, Key, StepKey};
use crate::template::lookup::{SnapshotBuilder, TemplateSlot, find, get_or_build};
use crate::template::restore::{Template, resume, start_to_be_saved};
use crate::template::save::take_snapshot;
use crate::template::snapshot::Snapshot;
use crate::template::{TemplateError, content, memory};

/// How long another process may take for a step.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// How much of a command a message shows, in characters.
const SHOWN: usize = 60;

impl Launch<'_> {
    /// The template of the machine after all steps, from that of the machine before the first.
    /// `base` finds or builds that, and is not asked if a later one is there.
    pub(super) async fn after_steps(
        &mut self,
        base: TemplateSlot,
    ) -> Result<(TemplateSlot, Template), NotRestored> {
        let spec = self.spec;
        let keys = keys(&base.key, &spec.steps)?;
        let slot = |key: &Key| TemplateSlot {
            key: key.clone(),
            store: base.store.clone(),
            patience: PATIENCE,
            ..base
        };
        let mut found = None;
        for (done, key) in keys.iter().enumerate().rev() {
            if base.is_unsaved {
                break;
            }
            if let Some(entry) = find(&base.store, key).map_err(TemplateError::from)? {
                found = Some((done, Template::Stored(entry.into())));
                break;
            }
        }
        let (done, mut template) = match found {
            Some(found) => found,
            None => (0, self.base_template(&base).await?),
        };
        if template.devices_only() && done < spec.steps.len() {
            let why = anyhow!("--prepare: the machine was saved while it ran");
            let hint = "run the command in it with `bivouac session --from`, and save it again";
            return Err(Failure::with_hint(why, hint).into());
        }
        for (index, step) in spec.steps.iter().enumerate().skip(done) {
            let builder = StepBuilder {
                launch: self,
                parent: &template,
                step,
                key: &keys[index + 1].steps[index],
                index,
            };
            template = get_or_build(&slot(&keys[index + 1]), builder).await?;
        }
        Ok((slot(&keys[spec.steps.len()]), template))
    }
}

/// The keys of the templates before the first step, and after each.
fn keys(base: &Key, steps: &[Step]) -> Result<Vec<Key>, Failure> {
    let mut keys = vec![base.clone()];
    let mut key = base.clone();
    for step in steps {
        key.steps.push(StepKey {
            command: step.command.clone(),
            copies: step.copies.iter().map(copy_key).collect::<Result<_, _>>()?,
        });
        keys.push(key.clone());
    }
    Ok(keys)
}

fn copy_key(copy: &CopySpec) -> Result<CopyKey, Failure> {
    let source = Path::new(&copy.source);
    let read = || {
        let name = source.canonicalize()?;
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        Ok::<_, std::io::Error>(CopyKey {
            target: copy.target.to_string_lossy().into_owned(),
            name: name.into_owned(),
            digest: content::digest(source)?,
        })
    };
    Ok(read().with_context(|| format!("--copy-in {}", source.display()))?)
}

struct StepBuilder<'l, 'a> {
    launch: &'l mut Launch<'a>,
    parent: &'l Template,
    step: &'l Step,
    key: &'l StepKey,
    /// Of the step, from 0.
    index: usize,
}

impl SnapshotBuilder for StepBuilder<'_, '_> {
    type Error = NotRestored;

    async fn wait<T>(&mut self, lookup: impl Future<Output = T>) -> Result<T, NotRestored> {
        let guarded = self.launch.supervisor.guard(lookup).await;
        guarded.map_err(|stopped| NotRestored::Failed(stopped.into()))
    }

    async fn build(&mut self) -> Result<Snapshot, NotRestored> {
        let launch = &mut *self.launch;
        let shown = shown(self.step);
        let (number, count) = (self.index + 1, launch.spec.steps.len());
        let status = format!("step {number} of {count}: {shown}");
        launch.progress.status(&status);
        let mut vm = prepare(launch.spec, launch.facts)?;
        same_images(launch.vm.drives.chains(), vm.drives.chains())?;
        fill_overlays(&vm.drives, self.parent)?;
        let (mut machine, session, memory) = self.start(&mut vm).await?;
        let mut output = Captured::default();
        let done = do_step(&session, self.step, &mut output);
        let launch = &mut *self.launch;
        let done = launch.supervisor.converse(&mut machine, done).await;
        let done = done.map_err(|interrupted| interrupted.into_failure(|e, t| vm.failure(e, t)));
        if let Err(failure) = done {
            launch.progress.clear_status();
            let is_users = matches!(failure.status, Status::Signalled(_));
            if !output.is_empty() && !is_users {
                launch.progress.message(&text(&output));
            }
            let what = format!("step {number} of {count}, {shown}");
            return Err(NotRestored::Failed(self.explained(failure.context(what))));
        }
        launch.progress.status(&format!("{status} (saving)"));
        let idle = wait_until_idle(&session, machine.id());
        let idle = launch.supervisor.converse(&mut machine, idle).await;
        idle.map_err(|interrupted| interrupted.into_failure(|e, t| vm.failure(e, t)))?;
        self.check_copies()?;
        let overlays = overlay_files(&vm.drives)?;
        let saving = take_snapshot(machine, &vm.plan, memory, overlays);
        let snapshot = self.launch.supervisor.guard(saving).await;
        drop(session);
        let snapshot = snapshot.map_err(Failure::from)??;
        self.launch.facts.template = Some("built");
        self.launch.facts.phases.mark("saved");
        Ok(snapshot)
    }

    fn template_error(error: &NotRestored) -> Option<&TemplateError> {
        match error {
            NotRestored::Template(error) => Some(error),
            NotRestored::Failed(_) => None,
        }
    }
}

impl StepBuilder<'_, '_> {
    async fn start(
        &mut self,
        vm: &mut PreparedVm,
    ) -> Result<(Machine, Session, File), NotRestored> {
        let (parent, facts) = (self.parent, &mut *self.launch.facts);
        let channels = vm.connect().map_err(TemplateError::from)?;
        let vm = &*vm;
        let resources = vm.resources(channels, Sinks::default(), mpsc::channel(1).1);
        let starting = async {
            let (plan, phases) = (vm.plan.clone(), facts.phases.clone());
            let started = start_to_be_saved(plan, parent, &vm.drives, resources, &phases);
            let (mut machine, memory) = started.await?;
            if record(&mut machine, facts).await? != vm.plan.accelerator.may_be_kvm() {
                return Err(TemplateError::Accelerator);
            }
            machine.cont().await?;
            let session = resume(&mut machine, &phases).await?;
            if vm.plan.reboot {
                machine.forbid_reset().await?;
            }
            Ok((machine, session, memory))
        };
        let started = self.launch.supervisor.guard(starting).await;
        Ok(started.map_err(Failure::from)??)
    }

    /// Refuses files that were changed while they were copied.
    fn check_copies(&self) -> Result<(), Failure> {
        for (copy, before) in self.step.copies.iter().zip(&self.key.copies) {
            if copy_key(copy)? != *before {
                let source = Path::new(&copy.source).display();
                return Err(anyhow!("--copy-in {source}: it was changed meanwhile").into());
            }
        }
        Ok(())
    }

    /// With the command that opens a terminal just before the step.
    fn explained(&self, failure: Failure) -> Failure {
        Failure {
            hint: match &self.step.shell_before {
                Some(command) => Some(format!("`{command}` opens a terminal just before it")),
                None => failure.hint,
            },
            ..failure
        }
    }
}

/// Copies files in, runs the command, and writes everything to the disks.
async fn do_step(session: &Session, step: &Step, output: &mut Captured) -> Result<(), Failure> {
    send_tree::all_in(session, &step.copies).await?;
    match capture::run(session, step.command.clone(), output).await? {
        ExecEnd::Exited(0) => Ok(session.sync().await?),
        ExecEnd::Exited(status) => Err(anyhow!("it ended with status {status}").into()),
        ExecEnd::Signalled(signal) => Err(anyhow!("signal {signal} ended it").into()),
        ExecEnd::NotFound => Err(anyhow!("the guest has no /bin/sh").into()),
        ExecEnd::NotInvocable(errno) => {
            let why = nix::errno::Errno::from_raw(errno).desc();
            Err(anyhow!("it cannot be executed: {why}").into())
        }
    }
}

/// The overlays begin as those of the template.
fn fill_overlays(drives: &Drives, template: &Template) -> Result<(), TemplateError> {
    for (overlay, saved) in overlay_files(drives)?.iter().zip(template.overlays()) {
        let saved = File::open(saved)?;
        overlay.set_len(0)?;
        overlay.set_len(saved.metadata()?.len())?;
        memory::duplicate(&saved, overlay)?;
    }
    Ok(())
}

/// Fails unless both machines have the same state of the same images.
pub(super) fn same_images(one: &[Chain], other: &[Chain]) -> Result<(), TemplateError> {
    let layers = |chains: &[Chain]| {
        let layers = chains.iter().flat_map(Chain::layers);
        layers.map(|layer| layer.identity()).collect::<Vec<_>>()
    };
    match layers(one) == layers(other) {
        true => Ok(()),
        false => Err(TemplateError::Ineligible(
            "an image was changed meanwhile".to_owned(),
        )),
    }
}

/// The last words of the command, which are those that were typed.
fn shown(step: &Step) -> String {
    let command = step.command.argv.last().cloned().unwrap_or_default();
    let text = String::from_utf8_lossy(&command.0).replace('\n', " ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}...`", &text[..end]),
        None => format!("`{text}`"),
    }
}

fn text(output: &Captured) -> String {
    String::from_utf8_lossy(&output.to_bytes()).into_owned()
}
