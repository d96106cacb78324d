//! One QEMU process and all it holds, from its plan to its outcome.
//!
//! [`plan`] is data, [`args`] and [`blockdev`] turn it into QEMU's words, [`overlay`] makes
//! the unlinked files that take every write, [`process`] starts and reaps QEMU, [`qmp`] and
//! [`console`] talk with it, [`saving`] is how a machine is saved and restored, [`terminal`] and
//! [`stdio`] are the user's end, [`phases`] tells how long all of it took. [`Machine`] binds them
//! together.

pub mod args;
pub(crate) mod blockdev;
pub(crate) mod channels;
pub(crate) mod console;
pub(crate) mod drives;
pub(crate) mod end;
pub(crate) mod overlay;
pub(crate) mod phases;
pub mod plan;
pub(crate) mod process;
pub(crate) mod snapshot;
pub(crate) mod start;
pub(crate) mod stdio;
pub(crate) mod terminal;
pub(crate) mod terminal_filter;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::qmp::client::{Events, Qmp};
use crate::qmp::codec::{QmpError, Version};

pub(crate) use channels::Channels;
use console::{ConsoleEvent, Sinks, Tail};
use end::{End, GuestExit, end_of};
use process::{Inherited, Process};
pub(crate) use start::StartError;
use start::{exited_early, handshake};

/// How long an answer to a QMP command may take before the machine is given up.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// How long QEMU may take to end by itself after the guest powered off.
const EXIT_PATIENCE: Duration = Duration::from_secs(5);

/// How long the console is still read after a panic, so that its trace is whole.
const PANIC_DRAIN: Duration = Duration::from_millis(300);

/// What a machine is started with besides its arguments.
#[derive(Debug)]
pub struct HeldResources<'a> {
    /// QMP and console.
    pub channels: Channels,
    /// Layers, overlays and flash: the caller keeps them, QEMU inherits them.
    pub files: Vec<BorrowedFd<'a>>,
    /// The largest file that QEMU may write, in bytes.
    pub max_file_size: Option<u64>,
    /// Where the guest's output goes.
    pub sinks: Sinks,
    /// What the guest's serial port receives.
    pub input: mpsc::Receiver<Vec<u8>>,
}

/// A running machine. Dropped, it kills QEMU.
#[derive(Debug)]
pub struct Machine {
    process: Process,
    qmp: Qmp,
    events: Events,
    console_events: mpsc::UnboundedReceiver<ConsoleEvent>,
    /// None once it was read to its end.
    console: Option<tokio::task::JoinHandle<io::Result<()>>>,
    tail: Rc<RefCell<Tail>>,
    guest_end: Option<GuestExit>,
    /// Our end of the agent's port, until somebody takes it.
    agent: Option<UnixStream>,
    /// When QEMU is killed, once the guest has ended.
    deadline: Option<Instant>,
    spawned: std::time::Instant,
}

/// What a running machine has to tell.
#[derive(Debug)]
pub enum MachineEvent {
    /// The machine has ended; QEMU is reaped.
    Ended(End),
    /// Something was seen on the console. A panic arrives as an end instead.
    Console(ConsoleEvent),
}

impl Machine {
    /// Starts QEMU with its CPUs stopped, and drains its console from the first byte on.
    ///
    /// Needs a [`tokio::task::LocalSet`] of a current-thread runtime on the main thread.
    pub async fn start(
        program: PathBuf,
        args: &[OsString],
        holdings: HeldResources<'_>,
    ) -> Result<Self, StartError> {
        let Channels {
            parent_ends,
            child_ends,
        } = holdings.channels;
        let inherited = Inherited {
            fds: child_ends.into_fds(),
            max_file_size: holdings.max_file_size,
        };
        let mut process = Process::spawn(&program, args, &holdings.files, inherited)
            .map_err(|source| StartError::Spawn { program, source })?;
        let spawned = std::time::Instant::now();
        tracing::debug!("QEMU has process id {:?}", process.id());

        let (read, write) = UnixStream::from_std(parent_ends.console)?.into_split();
        let (console_events_tx, console_events) = mpsc::unbounded_channel();
        let tail = Rc::new(RefCell::new(Tail::default()));
        let console = tokio::task::spawn_local(console::pump(
            read,
            holdings.sinks,
            console_events_tx,
            Rc::clone(&tail),
        ));
        tokio::task::spawn_local(console::feed(write, holdings.input));

        let (qmp, events) = handshake(&mut process, UnixStream::from_std(parent_ends.qmp)?).await?;
        Ok(Self {
            agent: parent_ends.agent.map(UnixStream::from_std).transpose()?,
            process,
            qmp,
            events,
            console_events,
            console: Some(console),
            tail,
            guest_end: None,
            deadline: None,
            spawned,
        })
    }

    /// QEMU's version.
    pub fn version(&self) -> &Version {
        &self.qmp.version
    }

    /// When QEMU had been started, before it said anything.
    pub fn spawned(&self) -> std::time::Instant {
        self.spawned
    }

    /// QEMU's process id, until it was reaped.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The last lines on the console, fit to be printed.
    pub fn console_tail(&self) -> Vec<String> {
        self.tail.borrow().lines()
    }

    /// Our end of the agent's port, once, where the machine has one.
    pub fn take_agent(&mut self) -> Option<UnixStream> {
        self.agent.take()
    }

    /// Whether QEMU runs on KVM, in its own words (`query-kvm`).
    pub async fn uses_kvm(&mut self) -> Result<bool, StartError> {
        self.ask(qapi::qmp::query_kvm {})
            .await
            .map(|kvm| kvm.enabled)
    }

    /// Lets the CPUs run.
    pub async fn cont(&mut self) -> Result<(), StartError> {
        self.ask(qapi::qmp::cont {}).await.map(drop)
    }

    /// Stops the CPUs.
    pub async fn pause(&mut self) -> Result<(), StartError> {
        self.ask(qapi::qmp::stop {}).await.map(drop)
    }

    /// From here on a reset by the guest ends the machine, whatever it was started with.
    pub async fn forbid_reset(&mut self) -> Result<(), StartError> {
        self.ask(qapi::qmp::set_action {
            reboot: Some(qapi::qmp::RebootAction::shutdown),
            shutdown: None,
            panic: None,
            watchdog: None,
        })
        .await
        .map(drop)
    }

    async fn ask<C: qapi::Command>(&mut self, command: C) -> Result<C::Ok, StartError> {
        self.ask_with(command, None).await
    }

    /// [`Machine::ask`] with a descriptor for the command.
    async fn ask_with<C: qapi::Command>(
        &mut self,
        command: C,
        descriptor: Option<OwnedFd>,
    ) -> Result<C::Ok, StartError> {
        let executed = self.qmp.execute_with(command, descriptor);
        match tokio::time::timeout(ANSWER_DEADLINE, executed).await {
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

    /// The next thing of note. May be dropped and called again; not after an end.
    pub async fn next(&mut self) -> io::Result<MachineEvent> {
        while self.guest_end.is_none() {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.handle_event(event),
                event = self.console_events.recv(), if self.console.is_some() => match event {
                    Some(ConsoleEvent::Panic) => self.record(GuestExit::Panicked),
                    Some(other) => return Ok(MachineEvent::Console(other)),
                    None => self.console_ended().await?,
                },
                status = self.process.wait() => return self.conclude(status?).await,
            }
        }
        let patience = match &self.guest_end {
            Some(GuestExit::Panicked) => PANIC_DRAIN,
            Some(GuestExit::WriteFailed { .. } | GuestExit::QmpLost(_)) => Duration::ZERO,
            _ => EXIT_PATIENCE,
        };
        // Kept over calls, so that whoever drops this future does not prolong the end.
        let deadline = *self
            .deadline
            .get_or_insert_with(|| Instant::now() + patience);
        let status = self.process.wait_or_kill(deadline).await?;
        self.conclude(status).await
    }

    /// The console is no longer read: QEMU closed it, or its log cannot be written. A guest
    /// whose console nobody reads would stall.
    async fn console_ended(&mut self) -> io::Result<()> {
        let ended = match &mut self.console {
            Some(console) => console.await.unwrap_or(Ok(())),
            None => Ok(()),
        };
        self.console = None;
        ended
    }

    /// QEMU is gone: what it and the guest said last decides.
    async fn conclude(&mut self, status: ExitStatus) -> io::Result<MachineEvent> {
        // To the end of the connection, which has come: another task still reads what QEMU
        // said before it ended.
        let deadline = Instant::now() + EXIT_PATIENCE;
        while let Ok(Some(event)) = tokio::time::timeout_at(deadline, self.events.recv()).await {
            self.handle_event(event);
        }
        self.drain_console(EXIT_PATIENCE).await;
        let end = end_of(status, self.guest_end.clone(), self.process.tail());
        Ok(MachineEvent::Ended(end))
    }

    /// Ends the machine at once. QEMU is reaped when this returns; whoever reads our output has
    /// `patience` to take what the guest printed last.
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
            // QEMU talks nonsense, or its connection broke: nothing can be steered.
            Err(error) => self.record(GuestExit::QmpLost(error.to_string())),
        }
    }

    /// What is seen first is the cause, with two exceptions: a panic explains the reset or the
    /// power-off that came of it, and anything explains a lost connection.
    fn record(&mut self, end: GuestExit) {
        match (&self.guest_end, &end) {
            (None | Some(GuestExit::QmpLost(_)), _) | (_, GuestExit::Panicked) => {
                self.guest_end = Some(end);
            }
            _ => {}
        }
    }

    /// Reads the console to its end, which has come: QEMU is gone. Bounded all the same,
    /// because whoever reads our output may not.
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
                self.record(GuestExit::Panicked);
            }
        }
    }
}
