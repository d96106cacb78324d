//! `bivouac template`: the saved machines that make the second start fast.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::ValueHint;
use serde::Serialize;

use super::args::machine::{HardwareArgs, LayerArgs, QemuArgs};
use super::args::overlay::{OverlayArgs, TemplateLimit};
use crate::appliance::boot::ApplianceConfig;
use crate::host::{kernel, qemu};
use crate::launch::facts::{AcceleratorFacts, Facts};
use crate::launch::prepare::prepare;
use crate::launch::spec::{
    AgentSpec, ApplianceSpec, Purpose, StartMode, TemplateSpec, Via, WaitFor,
};
use crate::launch::start::Launch;
use crate::launch::supervisor::Supervisor;
use crate::launch::{Failure, Progress, VmSpec, accelerator, appliance, block_on};
use crate::machine::phases::Phases;
use crate::template::lookup::TemplateSlot;
use crate::template::restore::Template;
use crate::template::store::{EntryInfo, Store};
use crate::text::time;

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
        /// Names of templates, or unambiguous prefixes of them
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Remove all templates that no machine uses, and what builds that were killed have left
    Prune,
    /// Create a template if it does not exist: that of IMAGE, as used by `run --warm IMAGE` with the
    /// same options, or that of the appliance
    Build(Box<BuildArgs>),
}

/// The machine that is saved, and what all templates may take.
#[derive(Clone, Debug, clap::Args)]
pub struct BuildArgs {
    /// The disk image to boot; without it the template is the appliance's
    #[arg(value_hint = ValueHint::FilePath)]
    image: Option<PathBuf>,
    #[command(flatten)]
    layers: LayerArgs,
    /// Stage of the guest's boot at which it is saved
    #[arg(long, value_enum, default_value = "multi-user", value_name = "STAGE")]
    wait_for: WaitFor,
    /// End after TIME (90, 90s, 5m, 2h); exit status 124
    #[arg(long, value_name = "TIME", value_parser = time::parse_duration)]
    timeout: Option<Duration>,
    /// The appliance's kernel; default the newest in /boot that has modules
    #[arg(long, alias = "seed-kernel", env = "BIVOUAC_KERNEL", value_name = "FILE",
          value_hint = ValueHint::FilePath)]
    inject_kernel: Option<PathBuf>,
    #[command(flatten)]
    limit: TemplateLimit,
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

#[derive(Debug, Serialize)]
pub struct List {
    directory: PathBuf,
    templates: Vec<EntryInfo>,
}

impl fmt::Display for List {
    /// A line each: name, size, when it was used, what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.templates.is_empty() {
            return writeln!(f, "no templates in {}", self.directory.display());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        for template in &self.templates {
            let name = template.name.get(..12).unwrap_or(&template.name);
            let age = ago(Duration::from_secs(now.saturating_sub(template.used)));
            let mib = template.bytes.div_ceil(1 << 20);
            let what = match &template.key {
                Some(key) => format!(
                    "{}, {} MiB, {} CPU, {}",
                    key.kind, key.memory_mib, key.cpus, key.accelerator
                ),
                None => "cannot be used".to_owned(),
            };
            let in_use = if template.in_use { ", in use" } else { "" };
            writeln!(f, "{name}  {mib:>5} MiB  {age:>8}  {what}{in_use}")?;
        }
        Ok(())
    }
}

/// A time in its largest unit: `3 min`.
fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Must be called on the main thread.
pub fn run(args: &Args, progress: &dyn Progress) -> Result<Report, Failure> {
    let store = Store::open()?;
    match &args.action {
        Action::Ls { .. } => Ok(Report::List(List {
            directory: store.directory().to_owned(),
            templates: store.list()?,
        })),
        Action::Rm { names } => remove(&store, names),
        Action::Prune => {
            store.sweep();
            let mut done = Vec::new();
            for EntryInfo { name, .. } in store.list()? {
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
        let built = match args.image.is_some() {
            true => build_image(args, progress).await,
            false => build_appliance(args, progress).await,
        };
        progress.clear_status();
        built
    })?;
    let name = slot.key.name();
    let line = match template {
        Template::Stored(_) => format!("{name} is there"),
        Template::Fresh(_) if slot.store.find(&slot.key)?.is_some() => format!("built {name}"),
        // The reason was printed.
        Template::Fresh(_) => return Err(anyhow::anyhow!("the template is not kept").into()),
    };
    Ok(Report::Done(vec![line]))
}

async fn build_appliance(
    args: &BuildArgs,
    progress: &dyn Progress,
) -> Result<(TemplateSlot, Template), Failure> {
    let (hardware, defaults) = (&args.hardware, ApplianceSpec::default());
    let kernel = hardware.kernel.as_ref().or(args.inject_kernel.as_ref());
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
    let mut launch = Launch {
        vm: prepare(&spec, &mut facts)?,
        spec: &spec,
        supervisor: Supervisor::new(spec.timeout)?,
        progress,
        facts: &mut facts,
    };
    Ok(launch.template().await?)
}

impl BuildArgs {
    /// The machine that `run --warm` with the same options would restore.
    fn spec(&self) -> Result<VmSpec, Failure> {
        Ok(VmSpec {
            image: self.image.as_deref().map(|path| self.layers.image(path)),
            purpose: Purpose::Console,
            start: StartMode::Warm,
            agent: AgentSpec {
                via: Via::Auto,
                wait_for: self.wait_for,
                kernel: self.inject_kernel.clone(),
                ..AgentSpec::default()
            },
            template: TemplateSpec {
                enabled: true,
                max_bytes: self.limit.templates_max,
            },
            overlay: self.overlay.spec(),
            qemu: self.qemu.qemu.clone(),
            qemu_args: self.qemu.qemu_arg.clone(),
            sandbox: self.qemu.sandbox.settings(),
            timeout: self.timeout,
            ..self.hardware.spec(&self.layers.trust)?
        })
    }
}
