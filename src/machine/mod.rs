//! One QEMU process and everything that it uses, from its plan to its end.
//!
//! [`plan`] is data. [`args`] and [`blockdev`] turn it into QEMU's arguments, [`drives`] and
//! [`overlay`] hold its images and the unnamed files that take all writes, [`rules`] says what QEMU
//! may do, [`node_graph`] what it has opened, [`image_server`] shows it images on other hosts, [`memory_file`] how it comes to its guest's memory,
//! [`process`] starts and reaps it, without huge pages where [`small_pages`] says so, [`start`] opens the QMP
//! session, [`block_jobs`] copies its disks, [`console`] reads the guest's serial port (its text by
//! [`console_text`], what keeps a boot by [`boot_stop`]), [`snapshot`] saves and restores a machine,
//! [`checkpoint`] saves one that goes on, with the pages of its memory in [`written_pages`], [`vnc`] lets
//! users see its screen, [`actions`] says what a reset or the end of the guest means to QEMU, [`end`] says
//! how it ended, [`phases`] measures, [`time_guard`] kills QEMU when bivouac cannot. [`terminal`] and
//! [`stdio`] are the user's end.
//! [`Machine`] joins them.

mod actions;
pub mod args;
pub(crate) mod block_jobs;
pub(crate) mod blockdev;
pub(crate) mod boot_stop;
pub mod channels;
mod checkpoint;
mod confined;
pub mod console;
pub mod console_log;
mod console_text;
pub(crate) mod drives;
pub(crate) mod end;
mod frame_filter;
mod guest_memory;
pub(crate) mod image_server;
mod memory_file;
mod node_graph;
pub(crate) mod overlay;
mod passt;
pub(crate) mod phases;
pub mod plan;
pub(crate) mod process;
pub(crate) mod prompt;
pub mod rules;
mod small_pages;
pub(crate) mod snapshot;
mod start;
pub(crate) mod stdio;
pub(crate) mod terminal;
pub(crate) mod terminal_filter;
pub(crate) mod time_guard;
mod vnc;
pub mod written_pages;

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::image::remote_image::RemoteImage;
use crate::qmp::client::{Events, Qmp};
use crate::qmp::codec::{QmpError, Version};
use crate::sandbox::Enforced;
use args::argv;

pub(crate) use channels::Channels;
use console::{ConsoleEvent, Sinks, Tail};
use end::{End, GuestExit, end_of};
use passt::Passt;
use plan::{Network, Plan};
use process::Process;
pub(crate) use start::StartError;
use start::{exited_early, handshake};

/// Time limit of a QMP command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// How long QEMU may take to exit by itself after the guest powered off.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a machine is started with besides its arguments.
#[derive(Debug)]
pub struct HeldResources<'a> {
    /// QMP, console and the agent's port.
    pub channels: Channels,
    /// Layers, overlays and flash. QEMU inherits them, the caller keeps them.
    pub files: Vec<BorrowedFd<'a>>,
    /// Images on other hosts, whose numbers are among the files.
    pub remotes: Vec<&'a RemoteImage>,
    /// QEMU's RLIMIT_FSIZE, in bytes.
    pub max_file_size: Option<u64>,
    pub sinks: Sinks,
    pub input: mpsc::Receiver<Vec<u8>>,
}

/// A running machine. Dropping it kills QEMU.
#[derive(Debug)]
pub struct Machine {
    process: Process,
    qmp: Qmp,
    events: Events,
    console_events: mpsc::UnboundedReceiver<ConsoleEvent>,
    /// None after its end.
    console: Option<tokio::task::JoinHandle<io::Result<()>>>,
    tail: Rc<RefCell<Tail>>,
    guest_end: Option<GuestExit>,
    /// The host end of the agent's port, until it is taken.
    agent: Option<UnixStream>,
    /// When QEMU is killed, if the guest has ended.
    deadline: Option<Instant>,
    spawned: std::time::Instant,
    sandbox: Enforced,
    _passt: Option<Passt>,
    /// The file of the guest's memory, if that is one.
    memory: Option<File>,
    /// QEMU stays when the guest ends.
    is_held: bool,
}

/// What [`Machine::next`] returns.
#[derive(Debug)]
pub enum MachineEvent {
    /// The machine has ended and QEMU is reaped.
    Ended(End),
    /// Anything but a panic, which ends the machine.
    Console(ConsoleEvent),
    /// The guest was reset and starts again.
    Reset,
}

impl Machine {
    /// Starts QEMU with its CPUs stopped and begins to read its console. Needs a
    /// [`tokio::task::LocalSet`] of a current-thread runtime on the main thread.
    pub async fn start(plan: &Plan, mut holdings: HeldResources<'_>) -> Result<Self, StartError> {
        let sandbox = confined::prepare(plan, &holdings.files)?;
        let copies = sandbox.copies.iter().map(AsFd::as_fd);
        holdings.files.extend(copies);
        let Channels {
            qmp,
            console,
            agent,
            network,
        } = holdings.channels;
        let (agent, agent_fd) = agent.map(|agent| (agent.ours, agent.theirs)).unzip();
        let mut given = vec![qmp.theirs, console.theirs];
        given.extend(agent_fd);
        let passt = match (&plan.network, network) {
            (Network::Internet { passt, .. }, Some(ends)) => {
                given.push(ends.theirs);
                Some(Passt::start(passt, plan.sandbox.mode, ends.ours).await?)
            }
            _ => None,
        };
        let (files, limit) = (&holdings.files, holdings.max_file_size);
        let (program, args) = (&sandbox.plan.qemu, argv(&sandbox.plan));
        let (mut confinement, environment) = (sandbox.confinement, sandbox.environment);
        let memory = memory_file::memory_of(plan, &holdings.files)?;
        let answers = memory_file::answers_for(plan, &mut confinement)?;
        image_server::connect(&holdings.remotes)?;
        let spawn = || {
            Process::spawn(
                program,
                &args,
                files,
                given,
                limit,
                confinement,
                environment,
            )
        };
        let spawned = small_pages::spawning(plan, spawn);
        let mut process = spawned.map_err(|source| StartError::Spawn {
            program: program.clone(),
            source,
        })?;
        let spawned = std::time::Instant::now();
        if let (Some(answers), Some(memory)) = (answers, &memory) {
            answers.give(memory.try_clone()?.into())?;
        }
        tracing::debug!("QEMU has process id {:?}", process.id());

        let (read, write) = UnixStream::from_std(console.ours)?.into_split();
        let (console_events_tx, console_events) = mpsc::unbounded_channel();
        let tail = Rc::new(RefCell::new(Tail::default()));
        let console = tokio::task::spawn_local(console::pump(
            read,
            holdings.sinks,
            console_events_tx,
            Rc::clone(&tail),
        ));
        tokio::task::spawn_local(console::feed(write, holdings.input));

        let (qmp, events) = handshake(&mut process, UnixStream::from_std(qmp.ours)?).await?;
        let mut machine = Self {
            agent: agent.map(UnixStream::from_std).transpose()?,
            process,
            qmp,
            events,
            console_events,
            console: Some(console),
            tail,
            guest_end: None,
            deadline: None,
            spawned,
            sandbox: sandbox.enforced,
            _passt: passt,
            memory,
            is_held: false,
        };
        machine.check_nodes(&holdings.files, &plan.extra).await?;
        Ok(machine)
    }

    pub fn version(&self) -> &Version {
        &self.qmp.version
    }

    /// When QEMU was started, before its greeting.
    pub fn spawned(&self) -> std::time::Instant {
        self.spawned
    }

    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// What confines QEMU.
    pub fn sandbox(&self) -> &Enforced {
        &self.sandbox
    }

    /// The last lines on the console, of which more may come. They outlast the machine.
    pub fn console(&self) -> Rc<RefCell<Tail>> {
        Rc::clone(&self.tail)
    }

    /// The last lines on the console, without control characters.
    pub fn console_tail(&self) -> Vec<String> {
        self.tail.borrow().lines()
    }

    /// The host end of the agent's port, once, if the machine has one.
    pub fn take_agent(&mut self) -> Option<UnixStream> {
        self.agent.take()
    }

    pub async fn uses_kvm(&mut self) -> Result<bool, StartError> {
        self.execute(qapi::qmp::query_kvm {})
            .await
            .map(|kvm| kvm.enabled)
    }

    pub async fn cont(&mut self) -> Result<(), StartError> {
        self.execute(qapi::qmp::cont {}).await.map(drop)
    }

    pub async fn pause(&mut self) -> Result<(), StartError> {
        self.execute(qapi::qmp::stop {}).await.map(drop)
    }

    async fn execute<C: qapi::Command>(&mut self, command: C) -> Result<C::Ok, StartError> {
        self.execute_with(command, None).await
    }

    async fn execute_with<C: qapi::Command>(
        &mut self,
        command: C,
        descriptor: Option<OwnedFd>,
    ) -> Result<C::Ok, StartError> {
        let executed = self.qmp.execute_with(command, descriptor);
        match tokio::time::timeout(COMMAND_TIMEOUT, executed).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(QmpError::Closed)) => Err(exited_early(&mut self.process).await),
            Ok(Err(error)) => Err(StartError::Qmp {
                error,
                output: self.process.tail(),
            }),
            Err(_) => Err(StartError::Silent {
                output: self.process.tail(),
            }),
        }
    }

    /// The next event. Cancel-safe; not to be called after the end.
    pub async fn next(&mut self) -> io::Result<MachineEvent> {
        while self.guest_end.is_none() {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => {
                    if matches!(&event, Ok(event) if end::is_reset(event)) {
                        return Ok(MachineEvent::Reset);
                    }
                    self.handle_event(event);
                }
                event = self.console_events.recv(), if self.console.is_some() => match event {
                    Some(ConsoleEvent::Panic) => self.record(GuestExit::Known(End::Panicked)),
                    Some(other) => return Ok(MachineEvent::Console(other)),
                    None => self.console_ended().await?,
                },
                status = self.process.wait() => return self.conclude(status?).await,
            }
        }
        if self.is_held
            && let Some(GuestExit::Known(end)) = &self.guest_end
            && end.may_be_kept()
        {
            return Ok(MachineEvent::Ended(end.clone()));
        }
        let patience = self
            .guest_end
            .as_ref()
            .map_or(EXIT_TIMEOUT, GuestExit::patience);
        // Kept over calls, so that dropping this future does not extend it.
        let deadline = *self
            .deadline
            .get_or_insert_with(|| Instant::now() + patience);
        let status = self.process.wait_or_kill(deadline).await?;
        self.conclude(status).await
    }

    /// The console is no longer read: QEMU closed it, or its log cannot be written, which is an error
    /// because the guest would block.
    async fn console_ended(&mut self) -> io::Result<()> {
        let ended = match &mut self.console {
            Some(console) => console.await.unwrap_or(Ok(())),
            None => Ok(()),
        };
        self.console = None;
        ended
    }

    /// QEMU has exited: determines the end from its last events and output.
    async fn conclude(&mut self, status: ExitStatus) -> io::Result<MachineEvent> {
        // To the end of the connection: another task still reads what QEMU sent before it exited.
        let deadline = Instant::now() + EXIT_TIMEOUT;
        while let Ok(Some(event)) = tokio::time::timeout_at(deadline, self.events.recv()).await {
            self.handle_event(event);
        }
        self.drain_console(EXIT_TIMEOUT).await;
        let end = end_of(status, self.guest_end.clone(), self.process.tail());
        if end.is_of_signal() {
            // If ours comes meanwhile, the supervisor drops this.
            tokio::time::sleep(end::SIGNAL_FOLLOWS).await;
        }
        Ok(MachineEvent::Ended(end))
    }

    /// Ends the machine at once. QEMU is reaped when this returns. A slow reader of the console has
    /// `patience` to take the last output.
    pub async fn stop(&mut self, patience: Duration) -> io::Result<()> {
        self.process.kill().await?;
        self.drain_console(patience).await;
        Ok(())
    }

    fn handle_event(&mut self, event: Result<qapi::qmp::Event, QmpError>) {
        match event {
            Ok(event) => {
                if let Some(end) = end::of_event(&event) {
                    self.record(end);
                }
            }
            // Without QMP the machine cannot be controlled.
            Err(error) => self.record(GuestExit::QmpLost(error.to_string())),
        }
    }

    /// The first is the cause, with two exceptions: a panic explains a reset or power-off, and anything
    /// explains a lost connection.
    fn record(&mut self, end: GuestExit) {
        match (&self.guest_end, &end) {
            (None | Some(GuestExit::QmpLost(_)), _) | (_, GuestExit::Known(End::Panicked)) => {
                self.guest_end = Some(end);
            }
            _ => {}
        }
    }

    /// Reads the console to its end after QEMU has exited. Limited, because the reader of our output may
    /// block.
    async fn drain_console(&mut self, patience: Duration) {
        if let Some(console) = &mut self.console {
            match tokio::time::timeout(patience, console).await {
                Ok(Ok(Err(error))) => tracing::warn!("{error}"),
                Ok(_) => {}
                Err(_) => tracing::debug!("the console's output is not being read"),
            }
            self.console = None;
        }
        while let Ok(event) = self.console_events.try_recv() {
            if event == ConsoleEvent::Panic {
                self.record(GuestExit::Known(End::Panicked));
            }
        }
    }
}
