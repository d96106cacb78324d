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
use crate::machine::console::Sinks;
use crate::machine::plan::{Firmware, Network, Saving};
use crate::machine::{Channels, Holdings, Machine};
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

/// Restores the machine of `assembled`, whose console goes to `output`. Where that cannot be,
/// `assembled` is as new, and says why.
///
/// # Errors
/// What would keep the machine from booting, too.
pub async fn start(
    assembled: &mut Assembled,
    channels: Channels,
    args: &Args,
    watch: &mut Watch,
    output: Option<mpsc::Sender<Vec<u8>>>,
    voice: &dyn Voice,
    facts: &mut Facts,
) -> Result<Start, Failure> {
    match attempt(assembled, channels, args, watch, output, voice, facts).await? {
        Ok(warmed) => Ok(Ok(warmed)),
        Err(error) => {
            voice.clear_status();
            let error = anyhow::Error::from(error);
            // Without a command no agent is put into a machine that boots, who could tell it.
            if !args.guest.is_wanted()? && args.guest.identity()?.is_some() {
                return Err(Failure::with_mend(
                    error
                        .context("--hostname and --new-machine-id want a machine that is restored"),
                    "-- CMD or --tty, with which a machine that boots is told them too",
                ));
            }
            tracing::warn!("{error:#}; the machine is booted");
            facts.template = None;
            let (fresh, channels) = assemble(args, facts)?;
            *assembled = fresh;
            Ok(Err(channels))
        }
    }
}

/// A template, and where it is.
#[derive(Debug)]
pub struct Place {
    /// The template.
    pub template: Template,
    /// Its key.
    pub key: Key,
    store: Store,
}

/// The template of the machine of `assembled`: found in the store, else built.
///
/// # Errors
/// The outer: what would keep the machine from booting, too. The inner: why there is none.
pub async fn template(
    assembled: &mut Assembled,
    channels: Channels,
    args: &Args,
    watch: &mut Watch,
    voice: &dyn Voice,
    facts: &mut Facts,
) -> Result<Result<Place, TemplateError>, Failure> {
    let (store, key) = match find(assembled, args) {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    let obtained = match watch.before(obtain(&store, &key)).await {
        Ok(obtained) => obtained,
        Err(end) => return Err(verdict::failure(&end, &[], &assembled.drives, None)),
    };
    let template = match obtained {
        Ok(Obtained::Stored(stored)) => {
            facts.template = Some("restored");
            drop(channels);
            Template::Stored(stored)
        }
        Ok(Obtained::Ours(building)) => {
            let built = saved::build(assembled, channels, args, watch, voice, facts).await?;
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
    facts.phases.mark("template");
    Ok(Ok(Place {
        template,
        key,
        store,
    }))
}

async fn attempt(
    assembled: &mut Assembled,
    channels: Channels,
    args: &Args,
    watch: &mut Watch,
    output: Option<mpsc::Sender<Vec<u8>>>,
    voice: &dyn Voice,
    facts: &mut Facts,
) -> Result<Result<Warmed, TemplateError>, Failure> {
    let found = template(assembled, channels, args, watch, voice, facts).await?;
    let Place {
        template,
        key,
        store,
    } = match found {
        Ok(place) => place,
        Err(error) => return Ok(Err(error)),
    };
    let restoring = restore(assembled, args, &template, output, facts);
    let restored = match watch.before(restoring).await {
        Ok(restored) => restored,
        Err(end) => return Err(verdict::failure(&end, &[], &assembled.drives, None)),
    };
    Ok(match restored {
        Ok((machine, session, to_guest)) => Ok(Warmed {
            machine,
            session,
            to_guest,
            template,
        }),
        Err(error) => {
            blame(&store, &key, template, &error);
            Err(error)
        }
    })
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
    output: Option<mpsc::Sender<Vec<u8>>>,
    facts: &mut Facts,
) -> Result<Restored, TemplateError> {
    let console_log = assembled.console_log().map_err(|failure| {
        TemplateError::Io(std::io::Error::other(format!("{:#}", failure.error)))
    })?;
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
    let holdings = Holdings {
        channels,
        files: assembled.drives.files(),
        max_file_size: assembled.max_write,
        sinks: Sinks {
            output,
            log: console_log,
        },
        input,
    };
    let saving = |memory, use_of_memory| Saving {
        memory,
        use_of_memory,
        vacant_disks: 0,
        generation_id: true,
    };
    let (plan, drives) = (assembled.plan.clone(), &assembled.drives);
    let has_network = plan.network != Network::None;
    let mut machine = restored(plan, saving, template, drives, holdings, &facts.phases).await?;
    facts.qemu_version = Some(machine.version().to_string());
    let uses_kvm = machine.uses_kvm().await?;
    facts.accelerator.used = Some(if uses_kvm { "kvm" } else { "tcg" });
    if uses_kvm != assembled.plan.accelerator.may_be_kvm() {
        return Err(TemplateError::Accelerator);
    }
    machine.cont().await?;
    let session = awake(&mut machine, &facts.phases).await?;
    // Every clone had the same address when it was saved.
    let mut identity = args.guest.identity().map_err(|failure| {
        TemplateError::Io(std::io::Error::other(format!("{:#}", failure.error)))
    })?;
    if has_network {
        let [a, b, c] = random()?;
        identity.get_or_insert_default().hardware_address = Some([0x52, 0x54, 0, a, b, c]);
    }
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
