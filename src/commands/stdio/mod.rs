//! One command in a guest: its streams are ours, signals reach it, and its end is our status.
//!
//! [`options`] is what was typed, [`conduct`] the command's course, `pipes` what moves its bytes.

pub mod options;
mod pipes;

use anyhow::{Context, anyhow};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::watch::Watch;
use super::{Failure, Voice};
use crate::exit::Status;
use crate::guest::session::{Command, Exec, ExecEnd, Session};
use crate::guest::wire::WindowSize;
use crate::machine::end::End;
use crate::machine::terminal::{HELP, Terminal};
use crate::machine::{Machine, News};
use crate::sys;
pub use options::CommandArgs;
use pipes::{Keys, Outputs, Typed};

/// How long the agent may take to pass a signal on.
const SIGNAL_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// How it ended.
#[derive(Debug)]
pub enum Ended {
    /// The command, by itself or by a signal.
    Command(ExecEnd),
    /// The machine, before the command did; or we were told to end it.
    Machine(End),
}

/// The user's end of a command.
#[derive(Debug)]
pub struct Streams {
    /// Raw while the command runs, where it has a terminal in the guest too.
    pub terminal: Option<Terminal>,
    /// The command has a terminal, whether or not we have one.
    pub tty: bool,
}

impl Streams {
    /// Must be called before any thread is started: it may fork the terminal's guard.
    ///
    /// # Errors
    /// The terminal does not obey.
    pub fn open(tty: bool) -> Result<Self, Failure> {
        let terminal = match tty {
            true => Terminal::open().context("setting up the terminal")?,
            false => None,
        };
        Ok(Self { terminal, tty })
    }
}

/// Runs `command` to its end.
///
/// # Errors
/// The agent refuses it, or the session breaks while the machine goes on.
pub async fn conduct(
    watch: &mut Watch,
    machine: &mut Machine,
    session: &Session,
    mut command: Command,
    mut streams: Streams,
    voice: &dyn Voice,
) -> Result<Ended, Failure> {
    if streams.tty {
        command.pty = Some(window_size());
        if let Some(term) = std::env::var_os("TERM") {
            use std::os::unix::ffi::OsStringExt;
            command.env.insert(
                0,
                (
                    "TERM".into(),
                    crate::guest::wire::ByteString(term.into_vec()),
                ),
            );
        }
    }
    let started = match watch.during(machine, session.exec(command)).await? {
        Ok(started) => started,
        Err(end) => return Ok(Ended::Machine(end)),
    };
    let mut exec = match started {
        Ok(exec) => exec,
        Err(error) => return machine_or(machine, watch, error.into()).await,
    };
    let (mut outputs, mut keys) = pipes::lay(&mut exec, streams.terminal.is_some())?;
    if let Some(terminal) = &mut streams.terminal {
        terminal.make_raw().context("setting up the terminal")?;
    }
    let ended = Course {
        watch,
        machine,
        exec: &mut exec,
        outputs: &mut outputs,
        keys: &mut keys,
        terminal: &mut streams.terminal,
        voice,
    }
    .run()
    .await;
    // Whatever comes now is not for the raw terminal.
    drop(streams);
    let ended = match ended {
        Ok(ended) => ended,
        Err(failure) => return machine_or(machine, watch, failure).await,
    };
    if let Ended::Command(_) = &ended
        && let Err(end) = watch.during(machine, outputs.written()).await?
    {
        // All the command's output has come; only our own reader is slow.
        if matches!(end, End::Signalled(_) | End::TimedOut { .. }) {
            return Ok(Ended::Machine(end));
        }
        outputs.written().await;
    }
    Ok(ended)
}

/// The machine's own end says more than that its agent does not answer any more.
async fn machine_or(
    machine: &mut Machine,
    watch: &mut Watch,
    failure: Failure,
) -> Result<Ended, Failure> {
    if failure.status != Status::GuestCrashed {
        return Err(failure);
    }
    let ended = watch.during(machine, std::future::pending::<()>());
    match tokio::time::timeout(SIGNAL_PATIENCE, ended).await {
        Ok(Ok(Err(end))) => Ok(Ended::Machine(end)),
        _ => Err(failure),
    }
}

struct Course<'a> {
    watch: &'a mut Watch,
    machine: &'a mut Machine,
    exec: &'a mut Exec,
    outputs: &'a mut Outputs,
    keys: &'a mut Keys,
    terminal: &'a mut Option<Terminal>,
    voice: &'a dyn Voice,
}

impl Course<'_> {
    async fn run(&mut self) -> Result<Ended, Failure> {
        let changed = SignalKind::window_change();
        let mut resized = signal(changed).context("listening for signals")?;
        let mut command_ended = None;
        // The first signal is the command's, the second ours.
        let mut passed_on = false;
        loop {
            if let (Some(end), true) = (command_ended, self.outputs.are_dry()) {
                return Ok(Ended::Command(end));
            }
            let timed_out = self.watch.timed_out();
            tokio::select! {
                biased;
                end = self.exec.wait(), if command_ended.is_none() => command_ended = Some(end?),
                () = self.outputs.dried() => {}
                news = self.machine.next() => {
                    if let News::Ended(end) = news.context("running the machine")? {
                        return Ok(Ended::Machine(end));
                    }
                }
                signal = self.watch.signals.next() => match signal {
                    Signal::SIGTSTP => {
                        if let Some(end) = self.suspend(false).await? {
                            return Ok(Ended::Machine(end));
                        }
                    }
                    signal if passed_on || command_ended.is_some() => {
                        return Ok(Ended::Machine(End::Signalled(signal as i32)));
                    }
                    signal => {
                        passed_on = true;
                        self.pass_on(signal).await;
                    }
                },
                _ = resized.recv(), if self.keys.has_terminal() => {
                    // It may have ended meanwhile.
                    let _ = self.exec.resize(window_size()).await;
                }
                typed = self.keys.typed() => match typed {
                    Typed::Leave => return Ok(Ended::Machine(End::Left)),
                    Typed::Help => self.voice.say(HELP),
                    Typed::Suspend => {
                        if let Some(end) = self.suspend(true).await? {
                            return Ok(Ended::Machine(end));
                        }
                    }
                },
                end = timed_out => return Ok(Ended::Machine(end)),
            }
        }
    }

    async fn suspend(&mut self, whole_job: bool) -> Result<Option<End>, Failure> {
        let terminal = self.terminal.as_mut();
        self.watch.suspend(self.machine, terminal, whole_job).await
    }

    /// A command that has just ended needs no signal; an agent that does not answer is found out
    /// by the next signal, or by `--timeout`.
    async fn pass_on(&mut self, signal: Signal) {
        let passing = self.exec.signal(signal as i32);
        match tokio::time::timeout(SIGNAL_PATIENCE, passing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("passing {signal} on: {error}"),
            Err(_) => tracing::warn!("the guest does not take {signal}; another one ends it"),
        }
    }
}

/// The terminal's size, or what terminals had before they told.
fn window_size() -> WindowSize {
    let (rows, columns) = sys::window_size(std::io::stdin()).unwrap_or((24, 80));
    WindowSize { rows, columns }
}

/// The status of a run whose command ended so, with a message where it could not be invoked.
///
/// # Errors
/// Of 126 and 127.
pub fn status(program: &std::ffi::OsStr, end: ExecEnd) -> Result<Status, Failure> {
    let failed = |why: String, status| Failure {
        status,
        ..anyhow!("{}: {why}", program.display()).into()
    };
    match end {
        ExecEnd::Exited(status) => Ok(Status::Guest(status)),
        ExecEnd::Signalled(signal) => Ok(Status::Guest(Status::Signalled(signal).code())),
        ExecEnd::NotFound => Err(failed("not found in the guest".into(), Status::NotFound)),
        ExecEnd::NotInvocable(errno) => {
            let why = nix::errno::Errno::from_raw(errno).desc();
            Err(failed(
                format!("cannot be executed in the guest: {why}"),
                Status::NotInvocable,
            ))
        }
    }
}
