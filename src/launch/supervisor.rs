//! The event loop of a machine's life: what the machine reports, signals, deadlines, and the keys
//! of a terminal. Everything that waits for a machine waits here.

use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::deadlines::{Deadline, Deadlines};
use super::failure::Failure;
use super::keyboard::Keyboard;
use super::outcome;
use super::signals::Signals;
use super::watchdog::Watchdog;
use crate::exit::Status;
use crate::machine::boot_stop::BootStop;
use crate::machine::console::{ConsoleEvent, Watch};
use crate::machine::end::{End, SIGNAL_PRECEDES};
use crate::machine::terminal::{Key, Terminal};
use crate::machine::{Machine, MachineEvent};
use crate::sys;

/// How long after its agent's end a machine's own end may follow.
const END_FOLLOWS: Duration = Duration::from_secs(1);

/// Waits for a machine, and for everything that may end its work.
#[derive(Debug)]
pub(crate) struct Supervisor {
    signals: Signals,
    /// The latest that asks for the end, and when it came: a command may have got it first.
    signal: Option<(Signal, Instant)>,
    deadlines: Deadlines,
    /// Until the deadline of `--timeout` is noticed here.
    watchdog: Option<Watchdog>,
    pub keyboard: Keyboard,
    /// Raw while it is here.
    terminal: Option<Terminal>,
}

/// What the machine is to be told, or the user wants.
#[derive(Debug)]
pub(crate) enum Event {
    Console(ConsoleEvent),
    /// The guest was reset and starts again.
    Reset,
    Signal(Signal),
    /// Stop, as by Ctrl-Z; `whole_job` if the other processes of the job got no signal.
    Suspend {
        whole_job: bool,
    },
    Help,
    /// Keep the disks when the machine ends.
    Keep,
    /// Save the machine under a name.
    Save,
}

/// Why some work with a machine was not done.
#[derive(Debug)]
pub(crate) enum Interrupted {
    /// The machine ended, or bivouac was told to end it.
    Ended {
        end: End,
        tail: Vec<String>,
    },
    Failed(Failure),
}

impl Interrupted {
    pub fn ended(end: End, machine: &Machine) -> Self {
        Self::Ended {
            end,
            tail: machine.console_tail(),
        }
    }

    fn signalled(signal: Signal, machine: &Machine) -> Self {
        Self::ended(End::Signalled(signal as i32), machine)
    }

    /// As an error; `ended` describes the end of the machine.
    pub fn into_failure(self, ended: impl FnOnce(&End, &[String]) -> Failure) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Ended { end, tail } => ended(&end, &tail),
        }
    }
}

impl<E: Into<Failure>> From<E> for Interrupted {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A signal or a deadline ended some work before there was a machine.
#[derive(Debug)]
pub(crate) struct Stopped(pub End);

impl From<Stopped> for Failure {
    fn from(Stopped(end): Stopped) -> Self {
        outcome::stopped(&end)
    }
}

impl Supervisor {
    /// From here on signals no longer end the process by themselves. `timeout` counts from now.
    pub fn new(timeout: Option<Duration>) -> Result<Self, Failure> {
        Ok(Self {
            signals: Signals::listen().context("listening for signals")?,
            signal: None,
            deadlines: Deadlines {
                timeout: timeout.map(|length| Deadline::of("--timeout", length)),
                ..Deadlines::default()
            },
            watchdog: timeout
                .map(Watchdog::start)
                .transpose()
                .context("starting a thread")?,
            keyboard: Keyboard::default(),
            terminal: None,
        })
    }

    /// For one of several machines of this process: signals and deadlines are another's.
    pub fn of_one_machine() -> Self {
        Self {
            signals: Signals::left_to_another(),
            signal: None,
            deadlines: Deadlines::default(),
            watchdog: None,
            keyboard: Keyboard::default(),
            terminal: None,
        }
    }

    /// From here on signals are the business of another supervisor, whose work includes this one's.
    pub fn leave_signals(&mut self) {
        self.signals = Signals::left_to_another();
    }

    /// Sets the deadline of a boot, which counts from now, or clears it.
    pub fn set_boot_timeout(&mut self, length: Option<Duration>) {
        self.deadlines.boot_timeout = length.map(|length| Deadline::of("--boot-timeout", length));
    }

    /// From here on only signals end the work.
    pub fn clear_deadlines(&mut self) {
        self.deadlines = Deadlines::default();
        self.watchdog = None;
    }

    /// Makes the terminal raw, and listens to its keys.
    pub fn attach(
        &mut self,
        terminal: Option<Terminal>,
        keyboard: Keyboard,
    ) -> Result<(), Failure> {
        self.keyboard = keyboard;
        self.terminal = terminal;
        self.make_terminal_raw()
    }

    fn make_terminal_raw(&mut self) -> Result<(), Failure> {
        let raw = self.terminal.as_mut().map(Terminal::make_raw).transpose();
        raw.context("setting up the terminal")?;
        Ok(())
    }

    /// Gives the terminal back. Whether there was one that takes output.
    pub fn detach(&mut self) -> bool {
        self.keyboard = Keyboard::default();
        let terminal = self.terminal.take();
        terminal.is_some_and(|mut terminal| terminal.give_back())
    }

    /// Does some work while no machine runs that would have to be suspended with us.
    pub fn guard<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Stopped>> {
        // Boxed, here and below: one state with all that is nested would not fit on the stack.
        let work = Box::pin(work);
        async move {
            tokio::select! {
                biased;
                // Before the work: while this process was stopped, a machine may have died of it.
                end = unconstrained(self.deadlines.passed()) => {
                    self.watchdog = None;
                    Err(Stopped(end))
                }
                done = work => Ok(done),
                // Whatever the work receives: it may use up the task's budget.
                signal = unconstrained(self.signals.next_ending()) => {
                    Err(Stopped(End::Signalled(signal as i32)))
                }
            }
        }
    }

    /// The next event; an error if it is the end. May be dropped and called again.
    pub async fn next(&mut self, machine: &mut Machine) -> Result<Event, Interrupted> {
        let end = tokio::select! {
            biased;
            news = machine.next() => match news.context("running the machine")? {
                MachineEvent::Ended(end) => self.cause_of(end),
                MachineEvent::Console(sighting) => return Ok(Event::Console(sighting)),
                MachineEvent::Reset => return Ok(Event::Reset),
            },
            // Whatever the machine sends: it may use up the task's budget.
            signal = unconstrained(self.signals.next()) => return Ok(match signal {
                // The other processes of the job got their own, if it came from a terminal.
                Signal::SIGTSTP => Event::Suspend { whole_job: false },
                signal => {
                    self.signal = Some((signal, Instant::now()));
                    Event::Signal(signal)
                }
            }),
            key = self.keyboard.next() => match key {
                Key::Leave => End::UserQuit,
                Key::Suspend => return Ok(Event::Suspend { whole_job: true }),
                Key::Keep => return Ok(Event::Keep),
                Key::Save => return Ok(Event::Save),
                Key::Help | Key::Pass(_) => return Ok(Event::Help),
            },
            end = unconstrained(self.deadlines.passed()) => {
                self.watchdog = None;
                end
            }
        };
        Err(Interrupted::ended(end, machine))
    }

    /// A QEMU that was asked to end, as this process was, has ended because of that.
    fn cause_of(&self, end: End) -> End {
        match self.signal {
            Some((signal, at)) if end.is_of_signal() && at.elapsed() < SIGNAL_PRECEDES => {
                End::Signalled(signal as i32)
            }
            _ => self.deadlines.cause_of(end),
        }
    }

    /// What an event means where nothing else is made of it.
    pub async fn handle(&mut self, machine: &mut Machine, event: Event) -> Result<(), Interrupted> {
        match event {
            Event::Signal(signal) => Err(Interrupted::signalled(signal, machine)),
            Event::Suspend { whole_job } => self.suspend(machine, whole_job).await,
            Event::Console(_) | Event::Help | Event::Keep | Event::Save | Event::Reset => Ok(()),
        }
    }

    /// Does some work in which `machine` takes part. If that is interrupted, the machine is still
    /// there, unless it ended.
    pub fn run<T>(
        &mut self,
        machine: &mut Machine,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Interrupted>> {
        self.serve(machine, Box::pin(work), false)
    }

    /// [`Supervisor::run`] for the boot of a guest without a person at its console: if it waits for
    /// one there, that is its end, unless the work is done soon after.
    pub fn run_boot<T>(
        &mut self,
        machine: &mut Machine,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Interrupted>> {
        let work = Box::pin(work);
        async move {
            let _watch = Watch::begin();
            self.set_boot_timeout(Some(limit));
            let done = self.serve(machine, work, true).await;
            self.set_boot_timeout(None);
            self.deadlines.boot_stop = None;
            done
        }
    }

    async fn serve<T>(
        &mut self,
        machine: &mut Machine,
        work: impl Future<Output = T>,
        is_boot: bool,
    ) -> Result<T, Interrupted> {
        let mut work = std::pin::pin!(work);
        loop {
            let event = tokio::select! {
                // A result counts, also if the machine ends at that moment.
                biased;
                done = &mut work => return Ok(done),
                event = self.next(machine) => event?,
            };
            match event {
                Event::Console(ConsoleEvent::BootStop(stop)) if is_boot => {
                    self.set_boot_stop(stop);
                }
                event => self.handle(machine, event).await?,
            }
        }
    }

    /// Sets the deadline of a boot that does not go on, or clears it.
    fn set_boot_stop(&mut self, stop: Option<&'static BootStop>) {
        self.deadlines.boot_stop = stop.map(|stop| Deadline {
            at: Instant::now() + stop.patience,
            end: End::BootFailed(stop),
        });
    }

    /// [`Supervisor::run`] for a conversation with the guest's agent.
    pub fn converse<T, E: Into<Failure>>(
        &mut self,
        machine: &mut Machine,
        work: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, Interrupted>> {
        let work = Box::pin(work);
        async move {
            match self.serve(machine, work, false).await? {
                Ok(done) => Ok(done),
                Err(error) => Err(self.explain(machine, error.into()).await),
            }
        }
    }

    /// The machine's own end, if it follows, says more than that its agent no longer answers.
    pub async fn explain(&mut self, machine: &mut Machine, failure: Failure) -> Interrupted {
        if failure.status == Status::GuestCrashed {
            let ended = self.run(machine, std::future::pending::<()>());
            if let Ok(Err(interrupted @ Interrupted::Ended { .. })) =
                tokio::time::timeout(END_FOLLOWS, ended).await
            {
                return interrupted;
            }
        }
        Interrupted::Failed(failure)
    }

    /// As Ctrl-Z: the guest stops with us, and continues with us; the terminal is given back
    /// meanwhile. A signal ends it while QEMU does not answer.
    async fn suspend(&mut self, machine: &mut Machine, whole_job: bool) -> Result<(), Interrupted> {
        tokio::select! {
            paused = machine.pause() => paused?,
            signal = self.signals.next_ending() => {
                return Err(Interrupted::signalled(signal, machine));
            }
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.restore();
        }
        sys::stop_like_a_terminal(whole_job).context("stopping")?;
        self.make_terminal_raw()?;
        tokio::select! {
            running = machine.cont() => running?,
            signal = self.signals.next_ending() => {
                return Err(Interrupted::signalled(signal, machine));
            }
        }
        Ok(())
    }
}
