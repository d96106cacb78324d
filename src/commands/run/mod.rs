//! `bivouac run`: boots a disk image, gives it the terminal, and leaves nothing behind.
//!
//! [`console`] serves the guest's serial console. With a command, [`command`] runs that instead, by
//! bivouac's agent or by the image's own ([`qga`]); [`transfer`] copies files before and after it.
//! [`ending`] keeps the disks and shows what has changed on them ([`diff`]). [`report`] is the JSON report.

mod command;
mod console;
mod diff;
mod ending;
mod qga;
mod report;
mod saver;
pub(super) mod transfer;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueHint;

use super::args::agent::GuestArgs;
use super::args::command_line::CommandLine;
use super::args::keep::KeepArgs;
use super::args::machine::{HardwareArgs, LayerArgs, QemuArgs};
use super::args::overlay::OverlayArgs;
use super::args::saved;
use super::output_files;
use super::stdio::HostStdio;
use crate::launch::facts::Facts;
use crate::launch::prepare::{PreparedVm, prepare};
use crate::launch::start::Launch;
use crate::launch::supervisor::Supervisor;
use crate::launch::{Failure, Outcome, Progress, VmSpec, block_on};
use crate::machine::console_log::ConsoleLog;
use crate::machine::terminal::Terminal;
use crate::text::size::parse_size;
use crate::text::time::parse_duration;
use diff::DiffArgs;
use ending::Ending;
use report::RunReport;

/// Boot a disk image; nothing that the guest writes is kept
///
/// The image is never changed: every write of the guest goes to an unlinked temporary
/// overlay that is gone with the machine. The guest's serial console is your terminal;
/// Ctrl-A X ends the machine, Ctrl-A H lists the other keys.
///
/// With CMD, or with --tty, the guest runs that command: an agent is injected into the overlay and
/// started by the image's own init. Standard input, output and error are those of CMD, and bivouac
/// exits with its status.
#[derive(Clone, Debug, clap::Args)]
// clap's own would show what the environment sets as if it had to be typed.
#[command(
    override_usage = "bivouac run [OPTIONS] IMAGE [-- CMD...]\n       bivouac run [OPTIONS] --kernel FILE [IMAGE]\n       bivouac run [OPTIONS] --from NAME [-- CMD...]"
)]
pub struct Args {
    #[command(flatten)]
    typed: CommandLine,
    /// The disk image to boot; may be left out with --kernel, and is with --from
    #[arg(required_unless_present_any = ["kernel", "from"], conflicts_with = "from", value_hint = ValueHint::FilePath)]
    image: Option<PathBuf>,
    #[command(flatten)]
    layers: LayerArgs,
    #[command(flatten)]
    hardware: HardwareArgs,
    #[command(flatten)]
    overlay: OverlayArgs,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    diff: DiffArgs,
    #[command(flatten)]
    guest: GuestArgs,
    #[command(flatten)]
    qemu: QemuArgs,
}

/// How long the machine runs, and what is written about it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Run")]
struct RunOptions {
    /// Copy the serial console to FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    console_log: Option<PathBuf>,
    /// Limit on the size of the console log; beyond it, only the end is kept
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_size,
          requires = "console_log")]
    max_log: u64,
    /// End the machine after TIME (90, 90s, 5m, 2h); exit status 124
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// End the machine if no login prompt appears, or with CMD the agent does not respond, within
    /// TIME; exit status 124
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    boot_timeout: Option<Duration>,
    /// Write the outcome, phases and layers to FILE as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    report: Option<PathBuf>,
    /// Print the QEMU command and start nothing
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    fn spec(&self) -> Result<VmSpec, Failure> {
        let machine = match &self.guest.from {
            Some(name) => saved::spec(name, &self.typed)?,
            None => VmSpec {
                image: self.image.as_deref().map(|path| self.layers.image(path)),
                ..self.hardware.spec(&self.layers.trust)?
            },
        };
        self.guest.complete(VmSpec {
            steps: self.guest.steps(&self.typed).0,
            overlay: self.overlay.spec(),
            qemu: self.qemu.qemu.clone().or(machine.qemu),
            qemu_args: self.qemu.qemu_arg.clone(),
            sandbox: self.qemu.sandbox.settings(),
            timeout: self.run.timeout,
            boot_timeout: self.run.boot_timeout,
            ..machine
        })
    }
}

/// The user's end of the machine, opened while this process has one thread, because its guard is
/// forked.
enum UserEnd {
    Console(Option<Terminal>),
    Command(HostStdio),
}

impl UserEnd {
    fn open(args: &Args) -> Result<Self, Failure> {
        let is_command = args.guest.is_wanted()?;
        if args.run.dry_run {
            return Ok(Self::Console(None));
        }
        Ok(match is_command {
            true => Self::Command(HostStdio::open(args.guest.run.tty)?),
            false => Self::Console(Terminal::open().context("setting up the terminal")?),
        })
    }
}

/// Runs the machine to its end. Must be called on the main thread, before any other is started.
pub fn run(args: &Args, progress: &dyn Progress) -> Result<Outcome, Failure> {
    let mut facts = Facts::since(Instant::now());
    let report = RunReport::open(args.run.report.as_deref(), args.image.as_ref(), &facts)?;
    let user_end = UserEnd::open(args)?;
    let outcome = block_on(launch(args, user_end, progress, &mut facts));
    report.finish(outcome, &facts)
}

async fn launch(
    args: &Args,
    user_end: UserEnd,
    progress: &dyn Progress,
    facts: &mut Facts,
) -> Result<Outcome, Failure> {
    let spec = args.spec()?;
    let mut supervisor = Supervisor::new(spec.timeout)?;
    let spec = spec.unpacked(&mut supervisor, progress).await?;
    let mut vm = prepare(&spec, facts)?;
    if args.run.dry_run {
        return Ok(Outcome::DryRun(vm.command_line()?));
    }
    vm.console_log = open_console_log(args, &vm)?;
    let keep = args.keep.create(&vm)?;
    let mut launch = Launch {
        spec: &spec,
        vm,
        supervisor,
        progress,
        facts,
    };
    let diff = args.diff.open(&launch)?;
    let mut ending = Ending::new(keep, diff);
    // Boxed: one state with all of them is too large for the stack of a debug build.
    let outcome = match user_end {
        UserEnd::Command(stdio) => {
            let (_, copies) = args.guest.steps(&args.typed);
            let run = command::run(&mut launch, &args.guest, &copies, stdio, &mut ending);
            Box::pin(run).await
        }
        UserEnd::Console(terminal) => {
            let from = args.guest.from.as_deref();
            let save = |name: &str| saved::save_spec(name, &args.typed, from);
            Box::pin(console::run(&mut launch, terminal, &mut ending, &save)).await
        }
    };
    let outcome = match outcome {
        Ok(outcome) => Box::pin(ending.finish(&mut launch, outcome)).await,
        failed => failed,
    };
    // Whatever came of it: the images are as they were, or the report says so.
    launch.facts.record_end(&launch.vm.drives);
    outcome
}

fn open_console_log(args: &Args, vm: &PreparedVm) -> Result<Option<ConsoleLog>, Failure> {
    let Some(path) = &args.run.console_log else {
        return Ok(None);
    };
    let others = [
        ("--kernel", args.hardware.kernel.as_deref()),
        ("--initrd", args.hardware.initrd.as_deref()),
        ("--firmware", Some(args.hardware.firmware.as_path())),
        ("--report", args.run.report.as_deref()),
        ("--qemu", Some(vm.plan.qemu.as_path())),
    ];
    let file = output_files::console_log(path, vm.drives.chains(), &others)?;
    Ok(Some(ConsoleLog::new(file, args.run.max_log)))
}
