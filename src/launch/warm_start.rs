//! A warm start: the machine is restored from its template with new overlays over the saved ones,
//! and made different from its other clones. If that fails, it can be booted.

use tokio::sync::mpsc;

use super::facts::{Facts, LayerFacts};
use super::failure::Failure;
use super::image_template::NotRestored;
use super::prepare::{PreparedVm, prepare};
use super::spec::Purpose;
use super::start::{Launch, RunningVm, record};
use crate::machine::Machine;
use crate::machine::console::Sinks;
use crate::machine::plan::Network;
use crate::session::random;
use crate::template::TemplateError;
use crate::template::restore::{Template, answered, resume, resume_branch, start_restored};

impl Launch<'_> {
    /// Restores the machine, whose console goes to `output`. If that fails, warns why, prepares the
    /// machine again to be booted, and returns None.
    pub async fn start_warm(
        &mut self,
        output: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Result<Option<RunningVm>, Failure> {
        let error = match Box::pin(self.restore(output)).await {
            Ok(vm) => return Ok(Some(vm)),
            Err(NotRestored::Failed(failure)) => return Err(failure),
            Err(NotRestored::Template(error)) => error,
        };
        self.progress.clear_status();
        // A boot is no substitute for a machine that was prepared.
        if self.spec.from.is_some() {
            return Err(error.into());
        }
        if !self.spec.steps.is_empty() {
            let what = "--prepare needs a machine that can be saved".to_owned();
            return Err(Failure::from(error).context(what));
        }
        let error = anyhow::Error::from(error);
        // A machine that boots for its console has no agent that could set them.
        let agent = &self.spec.agent;
        let sets_identity = agent.hostname.is_some() || agent.new_machine_id;
        if self.spec.purpose == Purpose::Console && sets_identity {
            return Err(Failure::with_hint(
                error.context(
                    "--hostname and --new-machine-id need a machine restored from a template",
                ),
                "add -- CMD or --tty: a machine that boots gets them, too",
            ));
        }
        tracing::warn!("{error:#}; the machine is booted");
        self.facts.template = None;
        let console_log = self.vm.console_log.take();
        let screen = std::mem::take(&mut self.vm.screen);
        self.vm = prepare(self.spec, self.facts)?;
        (self.vm.console_log, self.vm.screen) = (console_log, screen);
        Ok(None)
    }

    async fn restore(
        &mut self,
        output: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Result<RunningVm, NotRestored> {
        let has_steps = !self.spec.steps.is_empty();
        let (slot, template) = self.template(has_steps).await?;
        let started = match self.start_from(&template, output).await {
            Ok(vm) => Ok(vm),
            Err(NotRestored::Template(error)) => Err(error),
            Err(failed) => return Err(failed),
        };
        let (vm, template) = slot.settle(template, started)?;
        Ok(RunningVm {
            template: Some(template),
            ..vm
        })
    }

    /// Restores the machine from `template`, and makes it different from other clones.
    pub(super) async fn start_from(
        &mut self,
        template: &Template,
        output: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Result<RunningVm, NotRestored> {
        let sinks = self.vm.sinks(output)?;
        self.vm.screen.announce(self.progress)?;
        let mut identity = self.spec.agent.identity().map_err(Failure::from)?;
        if self.vm.plan.network != Network::None {
            // The saved machine's address is that of every clone.
            let [a, b, c] = random().map_err(Failure::from)?;
            identity.get_or_insert_default().hardware_address = Some([0x52, 0x54, 0, a, b, c]);
        }
        let joins = template.devices_only();
        let forbid_reset = self.spec.purpose == Purpose::Commands || joins;
        let cloning = async {
            let (mut machine, to_guest) =
                start_clone(&mut self.vm, template, sinks, self.facts).await?;
            let session = match joins {
                true => resume_branch(&mut machine, &self.facts.phases).await?,
                false => resume(&mut machine, &self.facts.phases).await?,
            };
            if let Some(identity) = identity {
                answered(session.identify(identity)).await?;
            }
            if self.vm.plan.reboot && forbid_reset {
                machine.forbid_reset().await?;
            }
            self.facts.phases.mark("ready");
            Ok::<_, TemplateError>((machine, session, to_guest))
        };
        let cloned = self.supervisor.guard(cloning).await;
        let (machine, session, to_guest) = cloned.map_err(Failure::from)??;
        Ok(RunningVm {
            to_guest: Some(to_guest),
            ..RunningVm::new(machine, session, None)
        })
    }
}

/// Starts a clone of `template` and lets its CPUs run.
async fn start_clone(
    vm: &mut PreparedVm,
    template: &Template,
    sinks: Sinks,
    facts: &mut Facts,
) -> Result<(Machine, mpsc::Sender<Vec<u8>>), TemplateError> {
    let channels = vm.connect()?;
    let stacks = vm.drives.push_layer(&template.overlays())?;
    vm.plan.put_on(stacks);
    facts.layers = LayerFacts::of(vm.drives.chains());
    let (to_guest, input) = mpsc::channel(64);
    let resources = vm.resources(channels, sinks, input);
    let (mut plan, phases) = (vm.plan.clone(), &facts.phases);
    plan.snapshot = Some(template.snapshot_config(0, true));
    let mut machine = start_restored(plan, template, &vm.drives, resources, phases).await?;
    if record(&mut machine, facts).await? != vm.plan.accelerator.may_be_kvm() {
        return Err(TemplateError::Accelerator);
    }
    vm.screen.open(&mut machine).await?;
    if let (
        true,
        Network::User {
            publish,
            restricted,
        },
    ) = (template.devices_only(), &vm.plan.network)
    {
        machine.renew_network(publish, *restricted).await?;
    }
    machine.cont().await?;
    Ok((machine, to_guest))
}
