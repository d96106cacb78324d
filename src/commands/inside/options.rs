//! What every command that looks into an image takes, as typed: no I/O.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;

use super::report::Journal;
use crate::commands::run::options::OverlayArgs;
use crate::commands::{Failure, accelerator};
use crate::image::Format;
use crate::image::chain::Stated;
use crate::machine::plan::Accelerator;
use crate::text::{size, time};

/// How an image is opened, and the appliance that it is opened in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Image")]
pub struct Options {
    /// Format of the image, where its content and name do not tell
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// The next layer below the image, top down; `none` ends the chain there (repeatable)
    #[arg(long, value_name = "FORMAT:PATH|none", value_parser = crate::commands::chain::stated())]
    pub backing: Vec<Stated>,
    /// The root filesystem, where the image has several: DEVICE or DEVICE:SUBVOLUME, as they
    /// are listed then
    #[arg(long, value_name = "DEVICE")]
    pub root: Option<String>,
    /// End after TIME (90, 90s, 5m, 2h); exit status 124
    #[arg(long, value_name = "TIME", value_parser = time::parse_duration)]
    pub timeout: Option<Duration>,
    /// Write the verdict, phases and layers to FILE as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// What the report will tell.
    #[arg(skip)]
    pub journal: Journal,
    /// The image was opened before: what is odd about it was said then.
    #[arg(skip)]
    pub again: bool,
    /// The appliance's template.
    #[command(flatten)]
    pub template: TemplateArgs,
    /// The appliance.
    #[command(flatten)]
    pub appliance: ApplianceArgs,
    /// Overlays.
    #[command(flatten)]
    pub overlay: OverlayArgs,
}

impl Options {
    /// The same, with the accelerator chosen, for commands that start several machines: what
    /// there is to say about it is said once.
    ///
    /// # Errors
    /// KVM was asked for alone, and does not work here.
    pub fn settled(&self) -> Result<Self, Failure> {
        let mut options = self.clone();
        let chosen = accelerator::choose(options.appliance.accel)?;
        options.appliance.accel = chosen.accelerator;
        Ok(options)
    }
}

/// Whether the appliance is restored from its template, and what all templates may take.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Appliance")]
pub struct TemplateArgs {
    /// Boot the appliance afresh, instead of restoring it from its template
    #[arg(long)]
    pub no_template: bool,
    /// How much the templates may take on disk
    #[arg(long, env = "BIVOUAC_TEMPLATES_MAX", value_name = "SIZE", default_value = "4G",
          value_parser = size::parse_size)]
    pub templates_max: u64,
}

/// The machine that the image is looked at in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Appliance")]
pub struct ApplianceArgs {
    /// Memory of the appliance, in MiB or with a suffix (512M, 2G)
    #[arg(long, short, value_name = "SIZE", default_value = "1G", value_parser = size::parse_memory)]
    pub memory: u64,
    /// Virtual CPUs of the appliance
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub cpus: u32,
    /// Accelerators in the order to try
    #[arg(long, env = "BIVOUAC_ACCEL", value_name = "ACCEL", default_value = "kvm:tcg",
          value_parser = accelerator::parse_accel)]
    pub accel: Accelerator,
    /// The appliance's kernel; default the newest of /boot that has modules
    #[arg(long, env = "BIVOUAC_KERNEL", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
    /// QEMU's program; default qemu-system-x86_64, else /usr/libexec/qemu-kvm
    #[arg(long, env = "BIVOUAC_QEMU", value_name = "PATH", value_hint = ValueHint::ExecutablePath)]
    pub qemu: Option<PathBuf>,
}
