//! `bivouac template`: the saved machines that make the second start fast.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::ValueHint;
use serde::Serialize;

use super::exec::CommandArgs;
use super::inside::{self, options::TemplateArgs};
use super::run::guest::{GuestArgs, Via, WaitFor};
use super::run::options::{Conduct, Hardware, OverlayArgs, QemuArgs};
use super::run::{self, warm::Attempt};
use super::{Failure, Voice, accelerator, watch::Watch};
use crate::commands::verdict;
use crate::guest::boot::{DEFAULT_MEMORY_MIB, Settings};
use crate::host::{kernel, qemu};
use crate::image::Format;
use crate::image::chain::Stated;
use crate::machine::drives::Drives;
use crate::machine::overlay::Place;
use crate::machine::phases::Phases;
use crate::template::appliance::get;
use crate::template::key::Key;
use crate::template::restore::Template;
use crate::template::store::{Listed, Store};
use crate::text::{size, time};

/// List, remove or build the saved machines that make the second start fast
///
/// The commands that look into images restore their appliance from a template, which the first
/// of them builds. A template is a cache: removing it is always safe.
#[derive(Clone, Debug, clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What is done with templates.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// List the templates, the one that was used last first
    Ls {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove templates that no machine uses
    Rm {
        /// Their names, or the beginnings of them
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Remove every template that no machine uses, and what builders that were killed left
    Prune,
    /// Build a template now, where there is none: of IMAGE, as `run --warm IMAGE` would with the
    /// same options, or of the appliance
    Build(Box<BuildArgs>),
}

/// The machine that is saved, and what all templates may take.
#[derive(Clone, Debug, clap::Args)]
pub struct BuildArgs {
    /// The disk image to boot; without it the template is the appliance's
    #[arg(value_hint = ValueHint::FilePath)]
    pub image: Option<PathBuf>,
    /// Format of IMAGE, where its content and name do not tell
    #[arg(long, value_name = "FORMAT", requires = "image")]
    pub format: Option<Format>,
    /// The next layer below IMAGE, top down; `none` ends the chain there (repeatable)
    #[arg(long, value_name = "FORMAT:PATH|none", requires = "image",
          value_parser = crate::commands::chain::stated())]
    pub backing: Vec<Stated>,
    /// How far the guest's init is to be before it is saved
    #[arg(long, value_enum, default_value = "multi-user", value_name = "STAGE")]
    pub wait_for: WaitFor,
    /// End after TIME (90, 90s, 5m, 2h); exit status 124
    #[arg(long, value_name = "TIME", value_parser = time::parse_duration)]
    pub timeout: Option<Duration>,
    /// The appliance's kernel; default the newest of /boot that has modules
    #[arg(long, env = "BIVOUAC_KERNEL", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub seed_kernel: Option<PathBuf>,
    /// How much the templates may take on disk
    #[arg(long, env = "BIVOUAC_TEMPLATES_MAX", value_name = "SIZE", default_value = "4G",
          value_parser = size::parse_size)]
    pub templates_max: u64,
    /// The machine.
    #[command(flatten)]
    pub hardware: Hardware,
    /// Overlays.
    #[command(flatten)]
    pub overlay: OverlayArgs,
    /// QEMU.
    #[command(flatten)]
    pub qemu: QemuArgs,
}

/// What came of it.
#[derive(Debug)]
pub enum Report {
    /// `ls`.
    List(List),
    /// The others: one line each.
    Done(Vec<String>),
}

/// Every template.
#[derive(Debug, Serialize)]
pub struct List {
    /// Where they are.
    pub directory: std::path::PathBuf,
    /// The templates.
    pub templates: Vec<Listed>,
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

/// Does it. Must be called on the main thread.
///
/// # Errors
/// There is no store, a name is of no template or of several, one is in use, or none can be built.
pub fn run(args: &Args, voice: &dyn Voice) -> Result<Report, Failure> {
    let store = Store::open()?;
    match &args.action {
        Action::Ls { .. } => Ok(Report::List(List {
            directory: store.directory().to_owned(),
            templates: store.list()?,
        })),
        Action::Rm { names } => remove(&store, names),
        Action::Prune => {
            store.sweep();
            let names = store.list()?.into_iter().map(|template| template.name);
            let names: Vec<_> = names.collect();
            let mut done = Vec::new();
            for name in names {
                match store.remove(&name)? {
                    true => done.push(format!("removed {name}")),
                    false => done.push(format!("{name} is in use")),
                }
            }
            Ok(Report::Done(done))
        }
        Action::Build(args) if args.image.is_some() => build_image(args, voice),
        Action::Build(args) => build(&store, args, voice),
    }
}

/// All names are looked up before anything is removed.
fn remove(store: &Store, names: &[String]) -> Result<Report, Failure> {
    let all = store.list()?;
    let mut wanted = BTreeSet::new();
    for name in names {
        let is_it = |one: &&Listed| !name.is_empty() && one.name.starts_with(&**name);
        let mut found = all.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(one), None) => wanted.insert(&*one.name),
            (first, _) => {
                let what = if first.is_some() { "several" } else { "no" };
                return Err(Failure::with_mend(
                    anyhow::anyhow!("{name:?} is the beginning of {what} templates"),
                    "a name that `bivouac template ls` shows",
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
        false => Err(Failure::with_mend(
            anyhow::anyhow!("in use: {}", in_use.join(", ")),
            "remove it when the machine that uses it has ended",
        )),
    }
}

fn build(store: &Store, args: &BuildArgs, voice: &dyn Voice) -> Result<Report, Failure> {
    let most = args.templates_max;
    let timeout = args.timeout;
    let hardware = &args.hardware;
    let kernel = hardware.kernel.as_ref().or(args.seed_kernel.as_ref());
    let settings = Settings {
        qemu: qemu::find(args.qemu.qemu.as_deref())?,
        accelerator: accelerator::choose(hardware.accel)?.accelerator,
        memory_mib: hardware.memory.unwrap_or(DEFAULT_MEMORY_MIB),
        cpus: hardware.cpus.unwrap_or(1),
        kernel: kernel::find(kernel.map(PathBuf::as_path))?,
        phases: Phases::default(),
    };
    inside::block_on(async {
        let mut watch = Watch::new(timeout)?;
        // For one disk, as every command has that looks into an image.
        let key = Key::of_appliance(&settings, 1).map_err(anyhow::Error::from)?;
        voice.status("building the template of the appliance");
        let built = watch.before(get(&settings, store, &key, 1, most)).await;
        voice.clear_status();
        match built {
            Ok(built) => done(store, &key, &built?),
            Err(end) => {
                let none = Drives::new(Place::Memory);
                Err(verdict::failure(&end, &[], &none, None))
            }
        }
    })
}

/// What was done; why a template is not kept was said already.
fn done(store: &Store, key: &Key, template: &Template) -> Result<Report, Failure> {
    let name = key.name();
    let said = match template {
        Template::Stored(_) => format!("{name} is there"),
        Template::Made(_) if store.find(key)?.is_some() => format!("built {name}"),
        Template::Made(_) => return Err(anyhow::anyhow!("the template is not kept").into()),
    };
    Ok(Report::Done(vec![said]))
}

/// As `run --warm` with the same options, but for the machine that would be restored from it.
fn build_image(args: &BuildArgs, voice: &dyn Voice) -> Result<Report, Failure> {
    let args = args.of_a_run();
    let mut report = run::report::Report::open(&args, Instant::now())?;
    let facts = &mut report.facts;
    let (mut assembled, channels) = run::assemble::assemble(&args, facts)?;
    inside::block_on(async {
        let mut watch = Watch::new(args.conduct.timeout)?;
        let mut attempt = Attempt {
            assembled: &mut assembled,
            args: &args,
            watch: &mut watch,
            voice,
            facts,
        };
        let built = attempt.template(channels).await;
        voice.clear_status();
        let place = built??;
        done(&Store::open()?, &place.key, &place.template)
    })
}

impl BuildArgs {
    fn of_a_run(&self) -> run::Args {
        run::Args {
            image: self.image.clone(),
            format: self.format,
            backing: self.backing.clone(),
            hardware: self.hardware.clone(),
            overlay: self.overlay.clone(),
            conduct: Conduct {
                console_log: None,
                timeout: self.timeout,
                boot_timeout: None,
                report: None,
                dry_run: false,
            },
            guest: GuestArgs {
                command: Vec::new(),
                run: CommandArgs::default(),
                via: Via::Auto,
                wait_for: self.wait_for,
                copy_in: Vec::new(),
                copy_out: Vec::new(),
                warm: true,
                hostname: None,
                new_machine_id: false,
                seed_kernel: self.seed_kernel.clone(),
                template: TemplateArgs {
                    no_template: false,
                    templates_max: self.templates_max,
                },
            },
            qemu: self.qemu.clone(),
        }
    }
}
