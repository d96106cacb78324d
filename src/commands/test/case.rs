//! One case: a machine is restored, the command runs in it, what is wanted of it is kept, and the
//! machine is killed.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cases;
use super::keep;
use super::result::{CaseResult, Verdict};
use crate::commands::args::command::ContextArgs;
use crate::commands::args::copy::CopyLimit;
use crate::commands::run::transfer;
use crate::exit::Status;
use crate::launch::branch::{Branch, Branches};
use crate::launch::capture::{self, Captured};
use crate::launch::facts::Facts;
use crate::launch::spec::CopySpec;
use crate::launch::start::RunningVm;
use crate::launch::{Failure, send_tree};
use crate::session::{ExecEnd, Session};

/// How long the copies out of a machine may take if the case has a limit, and it has passed.
const COPY_LIMIT: Duration = Duration::from_secs(30);

/// What all cases have in common.
#[derive(Debug)]
pub(super) struct Runner {
    pub branches: Branches,
    pub words: Vec<OsString>,
    pub context: ContextArgs,
    pub copy_in: Vec<CopySpec>,
    pub copy_out: Vec<CopySpec>,
    /// Of each case.
    pub copy_limit: CopyLimit,
    pub timeout: Option<Duration>,
    pub retries: u32,
    pub keep_failed: Option<PathBuf>,
    /// Whether the machine of a case that failed is wanted.
    pub keeps_machine: bool,
}

/// One of the cases, and the name of its directories.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub case: &'a OsStr,
    pub directory: &'a str,
}

impl Runner {
    /// Runs a case up to `1 + retries` times. The machine is that of the last try, if it failed and
    /// was wanted.
    pub async fn run(&self, case: Case<'_>) -> (CaseResult, Option<RunningVm>) {
        let mut tries = 1;
        loop {
            let is_last = tries > self.retries;
            let (mut result, machine) = self.try_once(case, is_last).await;
            result.tries = tries;
            if result.passed() || is_last {
                return (result, machine);
            }
            drop(machine);
            tries += 1;
        }
    }

    async fn try_once(&self, case: Case<'_>, is_last: bool) -> (CaseResult, Option<RunningVm>) {
        let started = Instant::now();
        let mut facts = Facts::since(started);
        let phases = facts.phases.clone();
        let mut output = Captured::default();
        let (verdict, machine) = self.in_branch(case, is_last, &mut facts, &mut output).await;
        let result = CaseResult {
            case: case.case.to_owned(),
            verdict,
            tries: 1,
            elapsed: started.elapsed(),
            output: output.to_bytes(),
            phases,
        };
        (result, machine)
    }

    async fn in_branch(
        &self,
        case: Case<'_>,
        is_last: bool,
        facts: &mut Facts,
        output: &mut Captured,
    ) -> (Verdict, Option<RunningVm>) {
        let console = match self.keep_failed.is_some().then(keep::console).transpose() {
            Ok(console) => console.unzip(),
            Err(failure) => return (verdict_of(failure), None),
        };
        let mut branch = match self.branches.start(facts, console.1).await {
            Ok(branch) => branch,
            Err(failure) => return (verdict_of(failure), None),
        };
        let mut verdict = self.command(case, &mut branch, output).await;
        let copied = self.copy_out(case, &mut branch).await;
        if let (Verdict::Passed, Err(failure)) = (&verdict, copied) {
            verdict = verdict_of(failure);
        }
        let runs_on = !matches!(verdict, Verdict::Passed | Verdict::Crashed(_));
        if runs_on
            && let Some(directory) = &self.keep_failed
            && let Err(failure) = keep::disks(&directory.join(case.directory), &mut branch).await
        {
            tracing::warn!("{:#}", failure.error);
        }
        let mut running = None;
        if is_last && self.keeps_machine && runs_on {
            running = Some(branch.running);
        } else if let Err(failure) = branch.launch.stop(branch.running.machine).await {
            tracing::warn!("{:#}", failure.error);
        }
        // Last, because what the command wrote to the console just before its end is still on its way.
        if verdict != Verdict::Passed
            && let (Some(directory), Some(console)) = (&self.keep_failed, &console.0)
        {
            let directory = directory.join(case.directory);
            if let Err(failure) = keep::failed(&directory, &output.to_bytes(), console) {
                tracing::warn!("{:#}", failure.error);
            }
        }
        (verdict, running)
    }

    /// Copies files in and runs the command.
    async fn command(
        &self,
        case: Case<'_>,
        branch: &mut Branch<'_>,
        output: &mut Captured,
    ) -> Verdict {
        let words = cases::command(&self.words, case.case);
        let mut command = self.context.command(&words);
        // As that of `run`.
        command.clear_env = true;
        let limit = self.timeout.unwrap_or(Duration::MAX);
        let Branch { launch, running } = branch;
        let RunningVm {
            machine, session, ..
        } = running;
        let work = async {
            send_tree::all_in(session, &self.copy_in).await?;
            Ok::<_, Failure>(capture::run(session, command, output).await?)
        };
        let done = launch.supervisor.converse(machine, work);
        match tokio::time::timeout(limit, done).await {
            Err(_) => Verdict::TimedOut(limit),
            Ok(Ok(end)) => of_end(end),
            Ok(Err(interrupted)) => verdict_of(launch.failed(interrupted)),
        }
    }

    async fn copy_out(&self, case: Case<'_>, branch: &mut Branch<'_>) -> Result<(), Failure> {
        if self.copy_out.is_empty() {
            return Ok(());
        }
        let mut copies = self.copy_out.clone();
        for copy in &mut copies {
            let directory = Path::new(&copy.target).join(case.directory);
            keep::make_directory(&directory)?;
            // A slash at the end: that is a directory.
            copy.target = directory.join("").into();
        }
        let destinations = transfer::destinations(&copies)?;
        let Branch { launch, running } = branch;
        let session: &Session = &running.session;
        let copying = transfer::all_out(session, &copies, &destinations, &self.copy_limit);
        let copying = launch.supervisor.converse(&mut running.machine, copying);
        let limit = self
            .timeout
            .map_or(Duration::MAX, |own| own.max(COPY_LIMIT));
        match tokio::time::timeout(limit, copying).await {
            Ok(copied) => copied.map_err(|interrupted| launch.failed(interrupted)),
            Err(_) => Err(anyhow::anyhow!("--copy-out took longer than the case may").into()),
        }
    }
}

fn of_end(end: ExecEnd) -> Verdict {
    match end {
        ExecEnd::Exited(0) => Verdict::Passed,
        ExecEnd::Exited(status) => Verdict::Failed(status),
        ExecEnd::Signalled(signal) => Verdict::Failed(Status::Signalled(signal).code()),
        ExecEnd::NotFound => Verdict::Failed(Status::NotFound.code()),
        ExecEnd::NotInvocable(_) => Verdict::Failed(Status::NotInvocable.code()),
    }
}

/// A guest that ends, or breaks the protocol, is the case's own failure.
fn verdict_of(failure: Failure) -> Verdict {
    let text = format!("{:#}", failure.error);
    match failure.status {
        Status::Failed => Verdict::Error(text),
        _ => Verdict::Crashed(text),
    }
}
