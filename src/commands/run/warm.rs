//! `--warm`: the machine as it was saved when it had booted. Found in the store, or booted and
//! saved first; then restored with new overlays over the saved ones, and made one of its own.

use tokio::sync::mpsc;

use super::assemble::{Assembled, assemble};
use super::guest::WaitFor;
use super::options::Args;
use super::report::Facts;
use super::saved;
use crate::commands::watch::Watch;
use crate::commands::{Failure, Voice, verdict};
use crate::guest::session::{Session, random};
use crate::guest::wire::CloneIdentity;
use crate::machine::console::Sinks;
use crate::machine::end::End;
use crate::machine::plan::{Firmware, Network, Saving};
use crate::machine::{Channels, Machine};
use crate::template::TemplateError;
use crate::template::key::Key;
use crate::template::obtain::{Obtained, blame, keep, obtain};
use crate::template::restore::{Template, awake, restored};
use crate::template::store::Store;

/// A machine that was restored, and runs.
#[derive(Debug)]
pub struct Warmed {
    /// Dropped, it kills QEMU.
    pub machine: Machine,
    /// Its agent.
    pub session: Session,
    /// Its console's input.
    pub to_guest: mpsc::Sender<Vec<u8>>,
    /// Held while the machine runs, so that it is not removed.
    pub template: Template,
}

/// What `--warm` comes to: a machine, or new channels for one that has to be booted.
pub type Start = Result<Warmed, Channels>;

/// A template, and where it is.
#[derive(Debug)]
pub struct Place {
    /// The template.
    pub template: Template,
    /// Its key.
    pub key: Key,
    store: Store,
}

/// A start by `--warm`.
pub struct Attempt<'a> {
    /// The machine that is wanted.
    pub assembled: &'a mut Assembled,
    /// What was typed.
    pub args: &'a Args,
    /// What may cut it short.
    pub watch: &'a mut Watch,
    /// Who says how far it is.
    pub voice: &'a dyn Voice,
    /// What the report tells.
    pub facts: &'a mut Facts,
}

impl Attempt<'_> {
    /// Restores the machine, whose console goes to `output`. Where that cannot be, the machine is
    /// as new, and it is said why.
    ///
    /// # Errors
    /// What would keep the machine from booting, too.
    pub async fn start(
        &mut self,
        channels: Channels,
        output: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Result<Start, Failure> {
        match self.warmed(channels, output).await? {
            Ok(warmed) => Ok(Ok(warmed)),
            Err(error) => {
                self.voice.clear_status();
                let error = anyhow::Error::from(error);
                // Without a command no agent is put into a machine that boots, who could tell it.
                if !self.args.guest.is_wanted()? && self.args.guest.identity()?.is_some() {
                    return Err(Failure::with_mend(
                        error.context(
                            "--hostname and --new-machine-id want a machine that is restored",
                        ),
                        "-- CMD or --tty, with which a machine that boots is told them too",
                    ));
                }
                tracing::warn!("{error:#}; the machine is booted");
                self.facts.template = None;
                let (fresh, channels) = assemble(self.args, self.facts)?;
                *self.assembled = fresh;
                Ok(Err(channels))
            }
        }
    }

    /// The template of the machine: found in the store, else built.
    ///
    /// # Errors
    /// The outer: what would keep the machine from booting, too. The inner: why there is none.
    pub async fn template(
        &mut self,
        channels: Channels,
    ) -> Result<Result<Place, TemplateError>, Failure> {
        let (store, key) = match find(self.assembled, self.args) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let obtained = match self.watch.before(obtain(&store, &key)).await {
            Ok(obtained) => obtained,
            Err(end) => return Err(self.cut_short(&end)),
        };
        let template = match obtained {
            Ok(Obtained::Stored(stored)) => {
                self.facts.template = Some("restored");
                Template::Stored(stored)
            }
            Ok(Obtained::Ours(building)) => {
                let Self {
                    assembled,
                    args,
                    watch,
                    voice,
                    facts,
                } = self;
                let built = saved::build(assembled, channels, args, watch, *voice, facts).await?;
                let most = args.guest.template.templates_max;
                voice.status("keeping the template");
                match keep(&store, building, &key, built, most) {
                    Ok(made) => {
                        facts.template = Some("built");
                        Template::Made(made)
                    }
                    Err(error) => return Ok(Err(error)),
                }
            }
            Err(error) => return Ok(Err(error)),
        };
        self.facts.phases.mark("template");
        Ok(Ok(Place {
            template,
            key,
            store,
        }))
    }

    async fn warmed(
        &mut self,
        channels: Channels,
        output: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Result<Result<Warmed, TemplateError>, Failure> {
        let Place {
            template,
            key,
            store,
        } = match self.template(channels).await? {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let sinks = Sinks {
            output,
            log: self.assembled.console_log()?,
        };
        let mut identity = self.args.guest.identity()?;
        if self.assembled.plan.network != Network::None {
            // Every clone had the same address when it was saved.
            let [a, b, c] = random()?;
            identity.get_or_insert_default().hardware_address = Some([0x52, 0x54, 0, a, b, c]);
        }
        let (assembled, args) = (&mut *self.assembled, self.args);
        let restoring = restore(assembled, args, &template, sinks, identity, self.facts);
        let (machine, session, to_guest) = match self.watch.before(restoring).await {
            Ok(Ok(restored)) => restored,
            Ok(Err(error)) => {
                blame(&store, &key, template, &error);
                return Ok(Err(error));
            }
            Err(end) => return Err(self.cut_short(&end)),
        };
        Ok(Ok(Warmed {
            machine,
            session,
            to_guest,
            template,
        }))
    }

    fn cut_short(&self, end: &End) -> Failure {
        verdict::failure(end, &[], &self.assembled.drives, None)
    }
}

/// The store, and the key of the machine.
fn find(assembled: &Assembled, args: &Args) -> Result<(Store, Key), TemplateError> {
    let chains = assembled.drives.chains();
    if let Some(why) = saved::unfit(chains, args) {
        return Err(TemplateError::Unfit(why));
    }
    let stage = match args.guest.wait_for {
        WaitFor::Basic => "basic",
        // It is not saved while anything is still being started.
        WaitFor::MultiUser | WaitFor::Running => "running",
    };
    let key = Key::of_image(&assembled.plan, chains, stage)?;
    Ok((Store::open()?, key))
}

type Restored = (Machine, Session, mpsc::Sender<Vec<u8>>);

async fn restore(
    assembled: &mut Assembled,
    args: &Args,
    template: &Template,
    sinks: Sinks,
    identity: Option<CloneIdentity>,
    facts: &mut Facts,
) -> Result<Restored, TemplateError> {
    let channels = Channels::new(true)?;
    assembled.connect(&channels);
    let saved = template.overlays();
    let plan = &mut assembled.plan;
    let vars = match &mut plan.firmware {
        Firmware::Uefi { vars, .. } => Some(vars),
        Firmware::Bios | Firmware::File(_) => None,
    };
    let disks = plan.disks.iter_mut().chain(vars);
    for (disk, (overlay, layers)) in disks.zip(assembled.drives.stack(&saved)?) {
        (disk.overlay, disk.layers) = (overlay, layers);
    }
    facts.layers_before(assembled.drives.chains());
    let (to_guest, input) = mpsc::channel(64);
    let holdings = assembled.holdings(channels, sinks, input);
    let saving = |memory, use_of_memory| Saving {
        memory,
        use_of_memory,
        vacant_disks: 0,
        generation_id: true,
    };
    let (plan, drives) = (assembled.plan.clone(), &assembled.drives);
    let mut machine = restored(plan, saving, template, drives, holdings, &facts.phases).await?;
    facts.qemu_version = Some(machine.version().to_string());
    let uses_kvm = machine.uses_kvm().await?;
    facts.accelerator.used = Some(if uses_kvm { "kvm" } else { "tcg" });
    if uses_kvm != assembled.plan.accelerator.may_be_kvm() {
        return Err(TemplateError::Accelerator);
    }
    machine.cont().await?;
    let session = awake(&mut machine, &facts.phases).await?;
    if let Some(identity) = identity {
        session.identify(identity).await?;
    }
    // Under a command a reset is the end.
    let commanded = !args.guest.command.is_empty() || args.guest.run.tty;
    if assembled.plan.reboot && commanded {
        machine.forbid_reset().await?;
    }
    facts.phases.mark("ready");
    Ok((machine, session, to_guest))
}
