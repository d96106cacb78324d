//! What `bivouac test` is told.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;

use super::cases::Shard;
use crate::commands::args::agent::copy_out;
use crate::commands::args::command_line::CommandLine;
use crate::commands::args::copy::CopyLimit;
use crate::commands::args::machine::{HardwareArgs, LayerArgs, QemuArgs};
use crate::commands::args::overlay::{OverlayArgs, TemplateArgs};
use crate::commands::args::prepare::PrepareArgs;
use crate::launch::spec::{CopySpec, Purpose, StartMode};
use crate::launch::{Failure, VmSpec};
use crate::text::time::parse_duration;

/// Run a command for each of many cases, each in a fresh copy of one prepared machine
///
/// The machine boots once and is prepared by each --prepare; what came of that is saved. Every case
/// is then run in a machine of its own, restored from there, that is discarded with all that the case
/// has changed.
///
/// A case is a word: after --cases, or a line of a file or of standard input. In CMD, {} stands for
/// the case; without {} it is added as the last argument.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "bivouac test [OPTIONS] IMAGE [--cases CASE...] -- CMD [ARG|{}]...")]
pub struct Args {
    #[command(flatten)]
    pub(super) typed: CommandLine,
    /// The disk image to boot; left out with --kernel or --from
    #[arg(required_unless_present_any = ["kernel", "from"], conflicts_with = "from",
          value_hint = ValueHint::FilePath)]
    pub(super) image: Option<PathBuf>,
    /// The command of a case, which passes if it ends with status 0
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
    #[command(flatten)]
    layers: LayerArgs,
    #[command(flatten)]
    pub(super) cases: CaseArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) prepare: PrepareArgs,
    #[command(flatten)]
    hardware: HardwareArgs,
    #[command(flatten)]
    overlay: OverlayArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    qemu: QemuArgs,
}

/// Which cases are run, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Cases")]
pub(super) struct CaseArgs {
    /// The cases, up to the next option or --
    #[arg(long, value_name = "CASE", num_args = 1.., conflicts_with = "cases_from")]
    pub cases: Vec<OsString>,
    /// Read the cases from FILE, one a line; by default, and if it is -, from standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub cases_from: Option<PathBuf>,
    /// Cases that are read end with NUL, not with a line feed
    #[arg(long, short = '0')]
    pub null: bool,
    /// Run only the I-th of N parts of the cases
    #[arg(long, value_name = "I/N", value_parser = Shard::parse)]
    pub shard: Option<Shard>,
    /// Run up to N cases at a time; default what CPUs and memory allow
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// End a case after TIME (90, 90s, 5m, 2h); it has failed then
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Run a case that failed up to N times more
    #[arg(long, value_name = "N", default_value = "0")]
    pub retries: u32,
    /// End at the first case that failed
    #[arg(long)]
    pub fail_fast: bool,
    /// What to do when a case failed, at the first of which the run ends
    #[arg(long, value_enum, value_name = "ACTION")]
    pub on_fail: Option<OnFail>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnFail {
    /// Open a terminal in the machine of the case, as it stands
    Shell,
}

/// What is written about them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Results")]
pub(super) struct OutputArgs {
    /// Write the results to FILE as JUnit's XML
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub junit: Option<PathBuf>,
    /// Print the results as TAP
    #[arg(long, conflicts_with = "json")]
    pub tap: bool,
    /// Print events as JSON, one a line
    #[arg(long)]
    pub json: bool,
    /// Copy a file or tree out of each machine after its case, to DST/CASE/ (repeatable)
    #[arg(long, value_name = "SRC:DST", value_parser = copy_out())]
    pub copy_out: Vec<CopySpec>,
    #[command(flatten)]
    pub limit: CopyLimit,
    /// Keep output, console and disks of each case that failed in DIR/CASE
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub keep_failed: Option<PathBuf>,
}

impl Args {
    /// The machine of which each case gets a copy, and what is copied into that.
    pub(super) fn spec(&self) -> Result<(VmSpec, Vec<CopySpec>), Failure> {
        let (steps, copies) = self.prepare.steps(&self.typed);
        let machine = self.prepare.machine(
            &self.typed,
            self.image.as_deref(),
            &self.layers,
            &self.hardware,
        )?;
        let spec = VmSpec {
            steps,
            overlay: self.overlay.spec(),
            qemu: self.qemu.qemu.clone().or(machine.qemu),
            qemu_args: self.qemu.qemu_arg.clone(),
            sandbox: self.qemu.sandbox.settings(),
            purpose: Purpose::Commands,
            start: StartMode::Warm,
            template: self.template.spec(),
            ..machine
        };
        Ok((spec, copies))
    }
}
