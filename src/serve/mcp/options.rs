//! The options of `bivouac mcp`, and the machines that they allow.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueHint;

use crate::commands::args::machine::{HardwareArgs, LayerArgs, QemuArgs};
use crate::commands::args::overlay::{OverlayArgs, TemplateArgs};
use crate::launch::spec::{AgentSpec, OverlaySpec, Purpose, StartMode, Via, WaitFor};
use crate::launch::{Failure, VmSpec};
use crate::text::time::parse_duration;

/// What a machine may write to each disk, unless `--max-write` says otherwise: a model fills disks
/// without meaning to.
const DEFAULT_MAX_WRITE: u64 = 16 << 30;

/// Serve throwaway machines to an agent, as tools of the Model Context Protocol
///
/// The agent's program starts this and writes to its standard input. It gets tools to start machines
/// from the given images, to run commands and to read and write files in them, to save, branch and
/// put them back, and to see what has changed. It can reach no other image, no file of this host, and
/// no network unless --net allows one. The end of standard input ends every machine.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "bivouac mcp [OPTIONS] <IMAGE|DIRECTORY>...")]
pub struct Args {
    /// What machines may be started from: disk images, and directories that have them
    #[arg(required = true, value_name = "IMAGE|DIRECTORY", value_hint = ValueHint::AnyPath)]
    pub(super) image: Vec<PathBuf>,
    #[command(flatten)]
    layers: LayerArgs,
    #[command(flatten)]
    pub(super) limits: Limits,
    #[command(flatten)]
    hardware: HardwareArgs,
    #[command(flatten)]
    overlay: OverlayArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    qemu: QemuArgs,
}

/// What the client may do, and how machines are started for it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Client")]
pub(super) struct Limits {
    /// How many machines may run at a time
    #[arg(long, value_name = "N", default_value = "4",
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub max_machines: u32,
    /// How many checkpoints may be held at a time; each takes up to a machine's memory
    #[arg(long, value_name = "N", default_value = "8",
          value_parser = clap::value_parser!(u32).range(0..=256))]
    pub max_checkpoints: u32,
    /// Restore saved machines that have booted, instead of booting; the first start of an image boots
    /// and saves it
    #[arg(long)]
    warm: bool,
    /// Stage of the guest's boot at which a machine is started
    #[arg(long, value_enum, default_value = "multi-user", value_name = "STAGE")]
    wait_for: WaitFor,
    /// End everything after TIME (90, 90s, 5m, 2h); exit status 124
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Give up a machine if its agent does not respond within TIME
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    boot_timeout: Option<Duration>,
    /// The kernel of the appliance; default the newest in /boot that has modules
    #[arg(long, env = "BIVOUAC_KERNEL", value_name = "FILE", value_hint = ValueHint::FilePath)]
    inject_kernel: Option<PathBuf>,
}

impl Args {
    /// The machine that boots `image`.
    pub(super) fn machine(
        &self,
        image: &Path,
        hostname: Option<String>,
    ) -> Result<VmSpec, Failure> {
        let limits = &self.limits;
        let overlay = self.overlay.spec();
        Ok(VmSpec {
            image: Some(self.layers.image(image)),
            purpose: Purpose::Commands,
            start: match limits.warm {
                true => StartMode::Warm,
                false => StartMode::Cold,
            },
            agent: AgentSpec {
                via: Via::Inject,
                wait_for: limits.wait_for,
                hostname,
                kernel: limits.inject_kernel.clone(),
                ..AgentSpec::default()
            },
            template: self.template.spec(),
            overlay: OverlaySpec {
                max_write: Some(overlay.max_write.unwrap_or(DEFAULT_MAX_WRITE)),
                ..overlay
            },
            qemu: self.qemu.qemu.clone(),
            qemu_args: self.qemu.qemu_arg.clone(),
            sandbox: self.qemu.sandbox.settings(),
            boot_timeout: limits.boot_timeout,
            checkpoints: true,
            ..self.hardware.spec(&self.layers.trust)?
        })
    }
}
