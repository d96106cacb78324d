//! Runs all cases, several at a time.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::args::{Args, OnFail};
use super::case::{Case, Runner};
use super::cases;
use super::render::junit;
use super::reporter::{Format, Printer, Reporter};
use super::result::CaseResult;
use crate::commands::output_files;
use crate::commands::stdio::{self, HostStdio};
use crate::exit::Status;
use crate::host::memory_limit;
use crate::launch::facts::Facts;
use crate::launch::prepare::prepare;
use crate::launch::start::{Launch, RunningVm};
use crate::launch::supervisor::{Interrupted, Supervisor};
use crate::launch::{Failure, block_on};
use crate::session::Command;

/// How often the live line is brought up to date.
const TICK: Duration = Duration::from_secs(1);

/// Must be called on the main thread, before any other is started.
pub(crate) fn run(args: &Args, printer: &dyn Printer) -> Result<Status, Failure> {
    let wants_shell = args.cases.on_fail == Some(OnFail::Shell);
    // First, because its guard is forked while this process has one thread.
    let shell = wants_shell.then(|| HostStdio::open(true)).transpose()?;
    if shell.is_some() && !io::stdin().is_terminal() {
        return Err(Failure::with_hint(
            anyhow!("--on-fail shell needs a terminal"),
            "--keep-failed DIR keeps output and console",
        ));
    }
    let cases = read_cases(args)?;
    let junit = args.output.junit.as_deref();
    let junit = junit.map(output_files::junit).transpose()?;
    let format = match (args.output.tap, args.output.json) {
        (true, _) => Format::Tap,
        (_, true) => Format::Json,
        _ => Format::Human,
    };
    let mut reporter = Reporter::new(printer, format, junit.is_some());
    let done = block_on(all(args, &cases, &mut reporter, shell));
    printer.clear_status();
    if !reporter.has_begun() {
        // There is no machine to run them in.
        return done.map(|()| Status::Success);
    }
    let summary = reporter.end()?;
    if let Some(mut file) = junit {
        let image = args.image.as_deref().and_then(Path::file_name);
        let image = image.map(|name| name.to_string_lossy().into_owned());
        let suite = image.or(args.prepare.from.clone()).unwrap_or_default();
        let text = junit::document(&suite, &summary, &reporter.results);
        file.write_all(text.as_bytes())
            .context("writing the results for --junit")?;
    }
    done.map(|()| summary.counts.status())
}

/// All cases of this shard.
fn read_cases(args: &Args) -> Result<Vec<OsString>, Failure> {
    let args = &args.cases;
    let all = match &args.cases[..] {
        [] => {
            let separator = if args.null { 0 } else { b'\n' };
            cases::parse(&read(args.cases_from.as_deref())?, separator)
        }
        given => given.to_vec(),
    };
    if all.is_empty() {
        return Err(Failure::with_hint(
            anyhow!("there are no cases"),
            "--cases CASE..., or one a line in --cases-from FILE or on standard input",
        ));
    }
    Ok(match args.shard {
        Some(shard) => shard.of(all),
        None => all,
    })
}

fn read(path: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match path.filter(|path| *path != Path::new("-")) {
        Some(path) => {
            bytes = fs::read(path).with_context(|| format!("--cases-from {}", path.display()))?;
        }
        None => {
            if path.is_none() && io::stdin().is_terminal() {
                return Err(Failure::with_hint(
                    anyhow!("there are no cases, and standard input is a terminal"),
                    "--cases CASE..., --cases-from FILE, or `ls tests | bivouac test ...`",
                ));
            }
            let read = io::stdin().lock().read_to_end(&mut bytes);
            read.context("reading the cases from standard input")?;
        }
    }
    Ok(bytes)
}

/// Prepares the machine, and runs the cases until all are done or something ends the run.
async fn all(
    args: &Args,
    cases: &[OsString],
    reporter: &mut Reporter<'_>,
    shell: Option<HostStdio>,
) -> Result<(), Failure> {
    let (spec, copy_in) = args.spec()?;
    let mut facts = Facts::since(Instant::now());
    let mut supervisor = Supervisor::new(None)?;
    let spec = spec.unpacked(&mut supervisor, reporter.printer).await?;
    let mut launch = Launch {
        vm: prepare(&spec, &mut facts)?,
        spec: &spec,
        supervisor,
        progress: reporter.printer,
        facts: &mut facts,
    };
    let directories = cases::directories(cases);
    let runner = Runner {
        branches: launch.branches().await?,
        words: args.command.clone(),
        context: args.prepare.context.clone(),
        copy_in,
        copy_out: args.output.copy_out.clone(),
        copy_limit: args.output.limit.clone(),
        timeout: args.cases.timeout,
        retries: args.cases.retries,
        keep_failed: args.output.keep_failed.clone(),
        keeps_machine: shell.is_some(),
    };
    let cases = cases.iter().zip(&directories);
    let cases: Vec<_> = cases
        .map(|(case, directory)| Case { case, directory })
        .collect();
    let jobs = jobs(args, spec.memory_mib, shell.is_some());
    let jobs = jobs.min(cases.len()).max(1);
    reporter.begin(cases.len(), jobs)?;
    let stops = args.cases.fail_fast || shell.is_some();
    let running = each(&runner, &cases, jobs, stops, reporter);
    let failed = launch
        .supervisor
        .guard(running)
        .await
        .map_err(Failure::from)??;
    if let (Some((result, Some(machine))), Some(stdio)) = (failed, shell) {
        open_shell(&mut launch, machine, &result, stdio).await?;
    }
    Ok(())
}

/// How many cases are run at a time.
fn jobs(args: &Args, memory_mib: u64, is_alone: bool) -> usize {
    match args.cases.jobs {
        _ if is_alone => 1,
        Some(jobs) => jobs as usize,
        None => {
            let cpus = std::thread::available_parallelism().map_or(1, usize::from);
            let machines = memory_limit::machines(memory_mib).unwrap_or(u64::MAX);
            cpus.min(machines.try_into().unwrap_or(usize::MAX))
        }
    }
}

type Ended = (CaseResult, Option<RunningVm>);

/// Runs each case. If one that failed `stops` the run, returns that.
async fn each(
    runner: &Runner,
    cases: &[Case<'_>],
    jobs: usize,
    stops: bool,
    reporter: &mut Reporter<'_>,
) -> Result<Option<Ended>, Failure> {
    let mut waiting = cases.iter();
    let mut running = FuturesUnordered::new();
    let mut tick = tokio::time::interval(TICK);
    loop {
        while running.len() < jobs
            && let Some(case) = waiting.next()
        {
            reporter.case_started(case.case)?;
            running.push(runner.run(*case));
        }
        tokio::select! {
            ended = running.next() => {
                let Some((result, machine)) = ended else {
                    return Ok(None);
                };
                let has_stopped = stops && !result.passed();
                reporter.case_ended(result.clone())?;
                if has_stopped {
                    return Ok(Some((result, machine)));
                }
            }
            _ = tick.tick() => reporter.show_status(),
        }
    }
}

/// A terminal in the machine of a case that failed, until its shell ends.
async fn open_shell(
    launch: &mut Launch<'_>,
    mut vm: RunningVm,
    result: &CaseResult,
    stdio: HostStdio,
) -> Result<(), Failure> {
    launch.progress.clear_status();
    launch.progress.message(&format!(
        "a shell in the machine of {}; exit ends the machine",
        result.name()
    ));
    let argv = ["/bin/sh", "-c", "exec \"${SHELL:-/bin/sh}\" -l"];
    let command = Command {
        clear_env: true,
        ..Command::new(argv)
    };
    let (machine, session) = (&mut vm.machine, &vm.session);
    let progress = launch.progress;
    let supervisor = &mut launch.supervisor;
    let ended = stdio::run_command(supervisor, machine, session, command, stdio, progress).await;
    let stopped = launch.stop(vm.machine).await;
    match ended {
        // Its status is of no interest.
        Ok(_) | Err(Interrupted::Ended { .. }) => stopped,
        Err(Interrupted::Failed(failure)) => Err(failure),
    }
}
