//! One command in a guest: its streams are ours, signals reach it, and its end is our status.
//! `pipes` copies the bytes.

mod pipes;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Status;
use crate::launch::supervisor::{Event, Interrupted, Supervisor};
use crate::launch::{Failure, Progress};
use crate::machine::Machine;
use crate::machine::end::End;
use crate::machine::stdio::OutputMode;
use crate::machine::terminal::{HELP, Terminal};
use crate::protocol::{ByteString, WindowSize};
use crate::session::{Command, Exec, ExecEnd, Session};
use crate::sys;
use pipes::OutputSinks;

/// How long the agent may take to deliver a signal.
const SIGNAL_LIMIT: Duration = Duration::from_secs(2);

/// The user's end of a command.
#[derive(Debug)]
pub(crate) struct HostStdio {
    /// Raw while the command runs, if that has a terminal in the guest too.
    terminal: Option<Terminal>,
    /// The command has a terminal, whether or not we have one.
    tty: bool,
}

impl HostStdio {
    /// Must be called before any thread is started: it may fork the terminal's guard.
    pub fn open(tty: bool) -> Result<Self, Failure> {
        let terminal = match tty {
            true => Terminal::open().context("setting up the terminal")?,
            false => None,
        };
        Ok(Self { terminal, tty })
    }
}

pub(crate) async fn run_command(
    supervisor: &mut Supervisor,
    machine: &mut Machine,
    session: &Session,
    mut command: Command,
    stdio: HostStdio,
    progress: &dyn Progress,
) -> Result<ExecEnd, Interrupted> {
    if stdio.tty {
        command.pty = Some(window_size());
        if let Some(term) = std::env::var_os("TERM") {
            let term = ByteString(term.into_vec());
            command.env.insert(0, ("TERM".into(), term));
        }
    }
    let mut exec = supervisor.converse(machine, session.exec(command)).await?;
    let shown = match stdio.tty {
        true => OutputMode::Terminal,
        false => OutputMode::Text,
    };
    let (mut outputs, keyboard) = pipes::connect(&mut exec, stdio.terminal.is_some(), shown)?;
    supervisor.attach(stdio.terminal, keyboard)?;
    let ended = CommandLoop {
        supervisor,
        machine,
        exec: &mut exec,
        outputs: &mut outputs,
        progress,
    }
    .run()
    .await;
    // What comes now is not for a raw terminal.
    supervisor.detach();
    let end = match ended {
        Err(Interrupted::Failed(failure)) => {
            return Err(supervisor.explain(machine, failure).await);
        }
        ended => ended?,
    };
    match supervisor.run(machine, outputs.written()).await {
        Ok(()) => Ok(end),
        Err(Interrupted::Ended { end: how, .. })
            if !matches!(how, End::Signalled(_) | End::TimedOut { .. }) =>
        {
            // All the command's output has come; only its reader is slow.
            outputs.written().await;
            Ok(end)
        }
        Err(interrupted) => Err(interrupted),
    }
}

struct CommandLoop<'a> {
    supervisor: &'a mut Supervisor,
    machine: &'a mut Machine,
    exec: &'a mut Exec,
    outputs: &'a mut OutputSinks,
    progress: &'a dyn Progress,
}

impl CommandLoop<'_> {
    async fn run(&mut self) -> Result<ExecEnd, Interrupted> {
        let changed = SignalKind::window_change();
        let mut resized = signal(changed).context("listening for signals")?;
        let mut command_end = None;
        // The first signal is the command's, the second ours.
        let mut passed_on = false;
        loop {
            if let (Some(end), true) = (command_end, self.outputs.are_dry()) {
                return Ok(end);
            }
            let has_terminal = self.supervisor.keyboard.is_connected();
            let event = tokio::select! {
                biased;
                end = self.exec.wait(), if command_end.is_none() => {
                    command_end = Some(end?);
                    self.outputs.command_ended();
                    continue;
                }
                () = self.outputs.dried() => continue,
                event = self.supervisor.next(self.machine) => event?,
                _ = resized.recv(), if has_terminal => {
                    // The command may have ended meanwhile.
                    let _ = self.exec.resize(window_size()).await;
                    continue;
                }
            };
            match event {
                Event::Signal(signal) if !passed_on && command_end.is_none() => {
                    passed_on = true;
                    self.pass_on(signal).await;
                }
                Event::Help => self.progress.message(HELP),
                Event::Save => self.progress.message(
                    "bivouac: Ctrl-A S is for a console; `bivouac session` saves machines, too",
                ),
                event => self.supervisor.handle(self.machine, event).await?,
            }
        }
    }

    /// A command that has just ended needs no signal; an agent that does not answer is noticed at
    /// the next signal, or by `--timeout`.
    async fn pass_on(&mut self, signal: Signal) {
        let passing = self.exec.signal(signal as i32);
        match tokio::time::timeout(SIGNAL_LIMIT, passing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("passing {signal} on: {error}"),
            Err(_) => tracing::warn!(
                "the guest did not accept {signal}; another signal kills the machine"
            ),
        }
    }
}

/// The terminal's size, or the usual one if it does not tell.
fn window_size() -> WindowSize {
    let (rows, columns) = sys::window_size(std::io::stdin()).unwrap_or((24, 80));
    WindowSize { rows, columns }
}

/// The status of a command that ended so; an error if it could not be invoked.
pub(crate) fn status(program: &OsStr, end: ExecEnd) -> Result<Status, Failure> {
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
