//! `bivouac template`: the saved machines that make the second start fast.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::inside::{self, options::ApplianceArgs};
use super::{Failure, Voice, accelerator, watch::Watch};
use crate::commands::{units, verdict};
use crate::guest::boot::Settings;
use crate::host::{kernel, qemu};
use crate::machine::drives::Drives;
use crate::machine::overlay::Place;
use crate::machine::phases::Phases;
use crate::template::appliance::get;
use crate::template::key::Key;
use crate::template::restore::Template;
use crate::template::store::{Listed, Store};

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
    /// Build the template of the appliance now, where there is none
    Build(Box<BuildArgs>),
}

/// Which appliance, and what all templates may take.
#[derive(Clone, Debug, clap::Args)]
pub struct BuildArgs {
    /// How much the templates may take on disk
    #[arg(long, env = "BIVOUAC_TEMPLATES_MAX", value_name = "SIZE", default_value = "4G",
          value_parser = units::parse_size)]
    pub templates_max: u64,
    /// The appliance.
    #[command(flatten)]
    pub appliance: ApplianceArgs,
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
        Action::Build(args) => build(&store, args, voice),
    }
}

fn remove(store: &Store, names: &[String]) -> Result<Report, Failure> {
    let all = store.list()?;
    let mut done = Vec::new();
    for wanted in names {
        let mut found = all.iter().filter(|one| one.name.starts_with(&**wanted));
        let name = match (found.next(), found.next()) {
            (Some(one), None) => &one.name,
            (first, _) => {
                let what = if first.is_some() { "several" } else { "no" };
                return Err(Failure::with_mend(
                    anyhow::anyhow!("{wanted:?} is the beginning of {what} templates"),
                    "a name that `bivouac template ls` shows",
                ));
            }
        };
        if !store.remove(name)? {
            return Err(Failure::with_mend(
                anyhow::anyhow!("the template {name} is in use"),
                "remove it when the machine that uses it has ended",
            ));
        }
        done.push(format!("removed {name}"));
    }
    Ok(Report::Done(done))
}

fn build(store: &Store, args: &BuildArgs, voice: &dyn Voice) -> Result<Report, Failure> {
    let most = args.templates_max;
    let args = &args.appliance;
    let settings = Settings {
        qemu: qemu::find(args.qemu.as_deref())?,
        accelerator: accelerator::choose(args.accel)?.accelerator,
        memory_mib: args.memory,
        cpus: args.cpus,
        kernel: kernel::find(args.kernel.as_deref())?,
        phases: Phases::default(),
    };
    inside::block_on(async {
        let mut watch = Watch::new(None)?;
        // For one disk, as every command has that looks into an image.
        let key = Key::of_appliance(&settings, 1).map_err(anyhow::Error::from)?;
        voice.status("building the template of the appliance");
        let built = watch.before(get(&settings, store, &key, 1, most)).await;
        voice.clear_status();
        let name = key.name();
        match built {
            Ok(built) => Ok(Report::Done(vec![match built? {
                Template::Stored(_) => format!("{name} is there"),
                Template::Made(_) => format!("built {name}"),
            }])),
            Err(end) => {
                let none = Drives::new(Place::Memory);
                Err(verdict::failure(&end, &[], &none, None))
            }
        }
    })
}
