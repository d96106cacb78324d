//! Machines for programs that use the library, and the event loop that all work with a machine runs
//! on.

use std::time::Instant;

use anyhow::Context;

use super::facts::Facts;
use super::failure::Failure;
use super::live::LiveVm;
use super::prepare::prepare;
use super::progress::{self, Progress};
use super::spec::VmSpec;
use super::start::{Launch, RunningVm};
use super::supervisor::Supervisor;
use crate::session::{Command, ExecEnd, Session, Stdio};
use crate::sys;

/// A machine whose agent is ready. It is killed when the work with it returns.
pub struct Vm<'l, 'a> {
    launch: &'l mut Launch<'a>,
    running: &'l mut RunningVm,
}

impl Vm<'_, '_> {
    /// Runs a command without input or output, and waits for its end.
    pub async fn status(&mut self, command: Command) -> Result<ExecEnd, Failure> {
        let none = Stdio::default();
        self.run(async |session| session.exec_with(command, none).await?.wait().await)
            .await
    }

    /// Does any work with the session. It fails early if the machine ends, a signal arrives or the
    /// timeout passes; the machine is of no use then.
    pub async fn run<T, E: Into<Failure>>(
        &mut self,
        work: impl AsyncFnOnce(&Session) -> Result<T, E>,
    ) -> Result<T, Failure> {
        let work = work(&self.running.session);
        let supervisor = &mut self.launch.supervisor;
        let done = supervisor.converse(&mut self.running.machine, work).await;
        done.map_err(|interrupted| self.launch.failed(interrupted))
    }
}

/// Starts the machine of `spec`, does `work` with it, and ends it. The spec's purpose has to be
/// [`Purpose::Commands`](super::Purpose), and its agent bivouac's own.
///
/// Must be called on the main thread, before any other is started: the kernel kills QEMU when the
/// thread ends that started it. SIGINT and its like end the work while it runs.
pub fn with_vm<T>(
    spec: &VmSpec,
    progress: &dyn Progress,
    work: impl AsyncFnOnce(&mut Vm<'_, '_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut facts = Facts::since(Instant::now());
    block_on(async {
        let (supervisor, spec) = unpacked(spec, progress).await?;
        let (mut launch, mut running) = start(&spec, supervisor, progress, &mut facts).await?;
        let mut vm = Vm {
            launch: &mut launch,
            running: &mut running,
        };
        let done = work(&mut vm).await;
        let stopped = launch.stop(running.machine).await;
        let done = done?;
        stopped.map(|()| done)
    })
}

/// [`with_vm`] for machines of which checkpoints are made: `work` owns the machine, and may start any
/// number of others from its checkpoints. All of them are killed when it returns, or a signal or the
/// timeout ends it.
pub fn with_live_vm<T>(
    spec: &VmSpec,
    progress: &dyn Progress,
    work: impl AsyncFnOnce(LiveVm) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let spec = &VmSpec {
        checkpoints: true,
        ..spec.clone()
    };
    let mut facts = Facts::since(Instant::now());
    block_on(async {
        let (supervisor, spec) = unpacked(spec, progress).await?;
        let (launch, running) = start(&spec, supervisor, progress, &mut facts).await?;
        let Launch {
            vm, mut supervisor, ..
        } = launch;
        supervisor.guard(work(LiveVm::new(vm, running))).await?
    })
}

async fn unpacked(spec: &VmSpec, progress: &dyn Progress) -> Result<(Supervisor, VmSpec), Failure> {
    let mut supervisor = Supervisor::new(spec.timeout)?;
    let spec = spec.clone().unpacked(&mut supervisor, progress).await?;
    Ok((supervisor, spec))
}

async fn start<'a>(
    spec: &'a VmSpec,
    supervisor: Supervisor,
    progress: &'a dyn Progress,
    facts: &'a mut Facts,
) -> Result<(Launch<'a>, RunningVm), Failure> {
    let vm = prepare(spec, facts)?;
    let mut launch = Launch {
        spec,
        vm,
        supervisor,
        progress,
        facts,
    };
    let started = launch.start_for_commands(None).await;
    let started = started.map_err(|interrupted| launch.failed(interrupted))?;
    progress.clear_status();
    match started {
        Some(running) => Ok((launch, running)),
        None => Err(anyhow::anyhow!("the image cannot run bivouac's agent").into()),
    }
}

/// Starts the machine of `spec` and runs one command in it, without input or output. See
/// [`with_vm`].
pub fn run_command(
    spec: &VmSpec,
    command: Command,
    progress: &dyn Progress,
) -> Result<ExecEnd, Failure> {
    with_vm(spec, progress, async |vm| vm.status(command).await)
}

/// Runs `work` to its end on the current thread, which must be the main thread: the kernel kills
/// QEMU when the thread ends that started it.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    sys::keep_children_for_waiting().context("setting SIGCHLD back")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the event loop")?;
    let work = Box::pin(work);
    let done = tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            biased;
            done = work => done,
            never = tokio::task::unconstrained(progress::tick()) => never,
        }
    });
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    done
}
