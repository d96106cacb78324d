//! `bivouac template`: the saved machines that make the second start fast.

mod list;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::appliance::boot::ApplianceConfig;
use crate::commands::args::command_line::CommandLine;
use crate::commands::args::machine::{HardwareArgs, LayerArgs, QemuArgs};
use crate::commands::args::overlay::{OverlayArgs, TemplateLimit};
use crate::commands::args::prepare::PrepareArgs;
use crate::commands::args::saved;
use crate::host::{kernel, qemu};
use crate::launch::facts::{AcceleratorFacts, Facts};
use crate::launch::prepare::prepare;
use crate::launch::spec::{AgentSpec, ApplianceSpec, Purpose, StartMode, TemplateSpec, Via};
use crate::launch::start::Launch;
use crate::launch::supervisor::Supervisor;
use crate::launch::{Failure, Progress, VmSpec, accelerator, appliance, block_on};
use crate::machine::phases::Phases;
use crate::template::lookup::TemplateSlot;
use crate::template::restore::Template;
use crate::template::store::{EntryInfo, NameRecord, Store, parse_name};
use crate::text::time;
use clap::ValueHint;
use list::List;

/// List, remove or build saved machines, which make later starts fast
///
/// The inspection commands restore their appliance from a template, which the first
/// of them builds. A template is a cache: removing it is always safe.
#[derive(Clone, Debug, clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// List the templates, most recently used first
    Ls {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove templates that no machine uses
    Rm {
        /// Names of templates, as given by --name or as listed, or unambiguous prefixes of these
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Remove all templates that no machine uses and that have no name, and what builds that were killed have left
    Prune,
    /// Create a template if it does not exist: that of IMAGE, as used by `run --warm IMAGE` with the
    /// same options, or that of the appliance
    Build(Box<BuildArgs>),
}

/// The machine that is saved, and what all templates may take.
#[derive(Clone, Debug, clap::Args)]
pub struct BuildArgs {
    #[command(flatten)]
    typed: CommandLine,
    /// The disk image to boot; without it and --from the template is the appliance's
    #[arg(conflicts_with = "from", value_hint = ValueHint::FilePath)]
    image: Option<PathBuf>,
    #[command(flatten)]
    layers: LayerArgs,
    /// End after TIME (90, 90s, 5m, 2h); exit status 124
    #[arg(long, value_name = "TIME", value_parser = time::parse_duration)]
    timeout: Option<Duration>,
    /// Keep it under NAME, for `run --from NAME`, until `template rm NAME`
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,
    #[command(flatten)]
    limit: TemplateLimit,
    #[command(flatten)]
    prepare: PrepareArgs,
    #[command(flatten)]
    hardware: HardwareArgs,
    #[command(flatten)]
    overlay: OverlayArgs,
    #[command(flatten)]
    qemu: QemuArgs,
}

#[derive(Debug)]
pub enum Report {
    List(List),
    /// For the others: one line each.
    Done(Vec<String>),
}

/// Must be called on the main thread.
pub fn run(args: &Args, progress: &dyn Progress) -> Result<Report, Failure> {
    let store = Store::open()?;
    match &args.action {
        Action::Ls { .. } => Ok(Report::List(List::of(&store)?)),
        Action::Rm { names } => remove(&store, names),
        Action::Prune => {
            store.sweep();
            let mut done = Vec::new();
            for EntryInfo { name, named, .. } in store.list()? {
                if let Some(named) = named {
                    done.push(format!(
                        "{named} stays; `bivouac template rm {named}` removes it"
                    ));
                    continue;
                }
                done.push(match store.remove(&name)? {
                    true => format!("removed {name}"),
                    false => format!("{name} is in use"),
                });
            }
            Ok(Report::Done(done))
        }
        Action::Build(args) => build(args, progress),
    }
}

/// All names are looked up before anything is removed.
fn remove(store: &Store, names: &[String]) -> Result<Report, Failure> {
    let all = store.list()?;
    let mut wanted = BTreeSet::new();
    for name in names {
        if let Some(one) = all.iter().find(|one| one.named.as_ref() == Some(name)) {
            wanted.insert(&*one.name);
            continue;
        }
        let is_it = |one: &&EntryInfo| !name.is_empty() && one.name.starts_with(&**name);
        let mut found = all.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(one), None) => wanted.insert(&*one.name),
            (first, _) => {
                let what = if first.is_some() { "several" } else { "no" };
                return Err(Failure::with_hint(
                    anyhow::anyhow!("{what} templates have names that start with {name:?}"),
                    "`bivouac template ls` lists the names",
                ));
            }
        };
    }
    let (mut done, mut in_use) = (Vec::new(), Vec::new());
    for name in wanted {
        match store.remove(name)? {
            true => done.push(format!("removed {name}")),
            false => in_use.push(name),
        }
    }
    match in_use.is_empty() {
        true => Ok(Report::Done(done)),
        false => Err(Failure::with_hint(
            anyhow::anyhow!("in use: {}", in_use.join(", ")),
            "remove it after the machine that uses it has ended",
        )),
    }
}

fn build(args: &BuildArgs, progress: &dyn Progress) -> Result<Report, Failure> {
    let (slot, template) = block_on(async {
        let built = match args.image.is_some() || args.prepare.from.is_some() {
            true => build_image(args, progress).await,
            false => build_appliance(args, progress).await,
        };
        progress.clear_status();
        built
    })?;
    let name = slot.key.name();
    let mut lines = Vec::new();
    if let Some(given) = &args.name {
        if !slot
            .store
            .set_name(&slot.key, &args.record(&slot.store, given)?)?
        {
            // The reason was printed.
            return Err(anyhow::anyhow!("the template is not kept").into());
        }
        lines.push(format!("{name} has the name {given}"));
    }
    let line = match template {
        Template::Stored(_) => format!("{name} is there"),
        Template::Fresh(_) if slot.store.find(&slot.key)?.is_some() => format!("built {name}"),
        // The reason was printed.
        Template::Fresh(_) => return Err(anyhow::anyhow!("the template is not kept").into()),
    };
    lines.insert(0, line);
    Ok(Report::Done(lines))
}

async fn build_appliance(
    args: &BuildArgs,
    progress: &dyn Progress,
) -> Result<(TemplateSlot, Template), Failure> {
    let (hardware, defaults) = (&args.hardware, ApplianceSpec::default());
    let kernel = hardware
        .kernel
        .as_ref()
        .or(args.prepare.inject_kernel.as_ref());
    let config = ApplianceConfig {
        qemu: qemu::find(args.qemu.qemu.as_deref())?,
        accelerator: accelerator::choose(hardware.accel, &mut AcceleratorFacts::default())?,
        memory_mib: hardware.memory.unwrap_or(defaults.memory_mib),
        cpus: hardware.cpus.unwrap_or(defaults.cpus),
        kernel: kernel::find(kernel.map(PathBuf::as_path))?,
        sandbox: args.qemu.sandbox.settings(),
        phases: Phases::default(),
    };
    let mut supervisor = Supervisor::new(args.timeout)?;
    progress.status("building the template of the appliance");
    // For one disk, as every command has that inspects an image.
    let building = appliance::template(&config, 1, args.limit.templates_max);
    Ok(supervisor.guard(building).await??)
}

async fn build_image(
    args: &BuildArgs,
    progress: &dyn Progress,
) -> Result<(TemplateSlot, Template), Failure> {
    let (spec, mut facts) = (args.spec()?, Facts::since(Instant::now()));
    let mut supervisor = Supervisor::new(spec.timeout)?;
    let spec = spec.unpacked(&mut supervisor, progress).await?;
    let mut launch = Launch {
        vm: prepare(&spec, &mut facts)?,
        spec: &spec,
        supervisor,
        progress,
        facts: &mut facts,
    };
    Ok(launch.template(false).await?)
}

impl BuildArgs {
    /// What is kept under the name `given`.
    fn record(&self, store: &Store, given: &str) -> Result<NameRecord, Failure> {
        let origin = match &self.prepare.from {
            Some(origin) => store.named(origin)?,
            None => None,
        };
        match origin {
            Some(origin) => Ok(NameRecord {
                name: given.to_owned(),
                ..origin.record
            }),
            None => saved::record(given, &self.typed),
        }
    }

    /// The machine that `run --warm` with the same options would restore.
    fn spec(&self) -> Result<VmSpec, Failure> {
        let (steps, left) = self.prepare.steps(&self.typed);
        if let Some(copy) = left.first() {
            return Err(Failure::with_hint(
                anyhow::anyhow!("--copy-in {}: no --prepare follows", copy.source.display()),
                "--prepare true, if it is only to be copied",
            ));
        }
        let machine = self.prepare.machine(
            &self.typed,
            self.image.as_deref(),
            &self.layers,
            &self.hardware,
        )?;
        Ok(VmSpec {
            purpose: Purpose::Console,
            start: StartMode::Warm,
            agent: AgentSpec {
                via: Via::Auto,
                ..machine.agent
            },
            steps,
            template: TemplateSpec {
                enabled: true,
                max_bytes: match self.name {
                    // It does not count.
                    Some(_) => u64::MAX,
                    None => self.limit.templates_max,
                },
            },
            overlay: self.overlay.spec(),
            qemu: self.qemu.qemu.clone().or(machine.qemu),
            qemu_args: self.qemu.qemu_arg.clone(),
            sandbox: self.qemu.sandbox.settings(),
            timeout: self.timeout,
            ..machine
        })
    }
}
