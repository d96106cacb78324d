//! A run for a command: the machine is started, files go in, the command runs, files come out, and
//! the machine is killed; nothing in it is kept.

use anyhow::Context;

use super::ending::Ending;
use super::{qga, transfer};
use crate::commands::args::agent::GuestArgs;
use crate::commands::destination::Destination;
use crate::commands::stdio::{self, HostStdio};
use crate::exit::Status;
use crate::launch::send_tree;
use crate::launch::spec::CopySpec;
use crate::launch::start::{Launch, RunningVm};
use crate::launch::supervisor::Interrupted;
use crate::launch::{Failure, Outcome};
use crate::machine::Machine;
use crate::machine::stdio::{OutputMode, error_output};
use crate::session::qga::{Command, PORT, Qga};

pub(super) async fn run(
    launch: &mut Launch<'_>,
    args: &GuestArgs,
    copies: &[CopySpec],
    stdio: HostStdio,
    ending: &mut Ending<'_>,
) -> Result<Outcome, Failure> {
    match start_and_run(launch, args, copies, stdio, ending).await {
        Ok(status) => Ok(Outcome::CommandExited { status }),
        Err(Interrupted::Failed(failure)) => Err(failure),
        Err(Interrupted::Ended { end, tail }) => Ok(launch.vm.ended_early(end, tail)),
    }
}

async fn start_and_run(
    launch: &mut Launch<'_>,
    args: &GuestArgs,
    copies: &[CopySpec],
    stdio: HostStdio,
    ending: &mut Ending<'_>,
) -> Result<Status, Interrupted> {
    let destinations = transfer::destinations(&args.copy_out)?;
    launch.facts.phases.mark("prepared");
    let output = match tracing::enabled!(tracing::Level::DEBUG) {
        true => Some(
            error_output(OutputMode::Terminal)
                .context("the console's output")?
                .0,
        ),
        false => None,
    };
    if let Some(mut vm) = launch.start_for_commands(output.clone()).await? {
        let mut done = by_our_agent(launch, &mut vm, args, (copies, &destinations), stdio).await;
        if done.is_ok() {
            let settling = ending.settle(launch, &mut vm.machine, Some(&vm.session));
            done = settling.await.and(done);
        }
        return over(launch, vm.machine, done).await;
    }
    let input = launch.supervisor.guard(qga::input()).await??;
    let command = qga::command(args, input)?;
    if let Some(port) = &mut launch.vm.plan.agent {
        port.name = PORT;
    }
    let mut machine = launch.boot(output).await?;
    let mut done = by_qga(launch, &mut machine, command).await;
    if done.is_ok() {
        done = ending.settle(launch, &mut machine, None).await.and(done);
    }
    over(launch, machine, done).await
}

/// Ends the machine. The error of the work counts for more than that of the clean-up.
async fn over(
    launch: &mut Launch<'_>,
    machine: Machine,
    done: Result<Status, Interrupted>,
) -> Result<Status, Interrupted> {
    let stopped = launch.stop(machine).await;
    let status = done?;
    stopped?;
    Ok(status)
}

async fn by_our_agent(
    launch: &mut Launch<'_>,
    RunningVm {
        machine, session, ..
    }: &mut RunningVm,
    args: &GuestArgs,
    (copies, destinations): (&[CopySpec], &[Destination]),
    stdio: HostStdio,
) -> Result<Status, Interrupted> {
    launch.progress.clear_status();
    let supervisor = &mut launch.supervisor;
    if !copies.is_empty() {
        launch.progress.status("copying files into the guest");
    }
    let copying = send_tree::all_in(session, copies);
    let copied = supervisor.converse(machine, copying).await;
    launch.progress.clear_status();
    copied?;
    if !copies.is_empty() {
        launch.facts.phases.mark("copied-in");
    }
    let argv = args.argv();
    let mut command = args.run.context.command(&argv);
    // As after a login: the agent's own environment is the init's business.
    command.clear_env = true;
    let progress = launch.progress;
    let ended = stdio::run_command(supervisor, machine, session, command, stdio, progress).await?;
    launch.facts.phases.mark("command");
    let status = stdio::status(&argv[0], ended);
    launch.facts.command = Some(code(&status));
    if !args.copy_out.is_empty() {
        launch.progress.status("copying files out of the guest");
    }
    let copying = transfer::all_out(session, &args.copy_out, destinations, &args.limit);
    let copied = supervisor.run(machine, copying).await;
    launch.progress.clear_status();
    let copied = copied?;
    if !args.copy_out.is_empty() {
        launch.facts.phases.mark("copied-out");
    }
    match (status, copied) {
        (Ok(Status::Guest(0)), Err(failure)) => Err(failure.into()),
        (status, copied) => {
            // How the command ended counts for more, but both are told.
            if let Err(failure) = copied {
                tracing::warn!("{:#}", failure.error);
            }
            Ok(status?)
        }
    }
}

async fn by_qga(
    launch: &mut Launch<'_>,
    machine: &mut Machine,
    command: Command,
) -> Result<Status, Interrupted> {
    let connecting = launch.wait_ready(machine, async |port| Qga::connect(port).await);
    let mut agent = connecting.await?;
    launch.progress.clear_status();
    let running = qga::run(&mut agent, command);
    let status = launch.supervisor.run(machine, running).await?;
    launch.facts.phases.mark("command");
    launch.facts.command = Some(code(&status));
    Ok(status?)
}

fn code(status: &Result<Status, Failure>) -> u8 {
    match status {
        Ok(status) => status.code(),
        Err(failure) => failure.status.code(),
    }
}
