//! Commands in the guest.

use tokio::sync::oneshot;

use super::Session;
use super::error::SessionError;
use super::stream::{StreamReader, StreamWriter};
use crate::guest::wire::{self, ByteString, ErrorStage, Operation, Response, User, WindowSize};

/// What to run in the guest, and how. A plain value: change its fields.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The program, looked for in PATH where it has no slash, and its arguments.
    pub argv: Vec<ByteString>,
    /// Variables, set over the others.
    pub env: Vec<(ByteString, ByteString)>,
    /// Start from no variables, rather than from the agent's.
    pub clear_env: bool,
    /// The working directory within the root; by default the user's home, else `/`.
    pub workdir: Option<ByteString>,
    /// Who runs it; the agent's own user by default.
    pub user: Option<User>,
    /// The directory that is its `/`.
    pub root: Option<ByteString>,
    /// Give it a terminal of this size.
    pub pty: Option<WindowSize>,
    /// Which of its streams lead here.
    pub stdio: Stdio,
}

/// Which streams of a command lead here; the others are /dev/null. With a terminal, all output
/// comes on `stdout`.
#[derive(Clone, Copy, Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Default for Stdio {
    fn default() -> Self {
        Self {
            stdin: true,
            stdout: true,
            stderr: true,
        }
    }
}

impl Command {
    /// A program and its arguments, as the agent's user, with all three streams.
    pub fn new<W: Into<ByteString>>(argv: impl IntoIterator<Item = W>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecEnd {
    /// With this status.
    Exited(u8),
    /// By this signal.
    Signalled(i32),
    /// There is no such program.
    NotFound,
    /// The program is there and could not be executed; the system's error number.
    NotInvocable(i32),
}

/// A command that runs in the guest, or could not be invoked. Dropped, it goes on running until
/// the session ends; its streams are independent of it.
#[derive(Debug)]
pub struct Exec {
    /// To its standard input. Drop it for end-of-file.
    pub stdin: Option<StreamWriter>,
    /// Its standard output, or all output of its terminal.
    pub stdout: Option<StreamReader>,
    /// Its standard error.
    pub stderr: Option<StreamReader>,
    id: u64,
    pid: Option<i32>,
    session: Session,
    end: End,
}

#[derive(Debug)]
enum End {
    Waiting(oneshot::Receiver<wire::ExecEnd>),
    Known(ExecEnd),
}

impl Exec {
    /// Its process id in the guest; none where it could not be invoked.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Sends a signal to its process group.
    ///
    /// # Errors
    /// ESRCH where it has ended.
    pub async fn signal(&self, signal: i32) -> Result<(), SessionError> {
        let exec = self.id;
        self.session.done(Operation::Signal { exec, signal }).await
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// ENOTTY where it has none, ESRCH where it has ended.
    pub async fn resize(&self, size: WindowSize) -> Result<(), SessionError> {
        let exec = self.id;
        self.session.done(Operation::Resize { exec, size }).await
    }

    /// Waits until it ends. Does not wait for its output, which may still be under way: read
    /// that to its end. May be dropped and called again.
    ///
    /// # Errors
    /// The session ended first.
    pub async fn wait(&mut self) -> Result<ExecEnd, SessionError> {
        let end = match &mut self.end {
            End::Known(end) => return Ok(*end),
            End::Waiting(end) => match end.await {
                Ok(wire::ExecEnd::Exited(status)) => ExecEnd::Exited(status),
                Ok(wire::ExecEnd::Signalled(signal)) => ExecEnd::Signalled(signal),
                Err(_) => return Err(self.session.fate.why()),
            },
        };
        self.end = End::Known(end);
        Ok(end)
    }
}

impl Session {
    /// Starts a command, and waits until its program is executed. That it is not found, or
    /// cannot be invoked, is its end and no error; the streams are then none.
    ///
    /// # Errors
    /// The root, the user or the working directory is not there ([`SessionError::Refused`], with
    /// the [`ErrorStage`]), or the session ends.
    pub async fn exec(&self, command: Command) -> Result<Exec, SessionError> {
        let stdio = command.stdio;
        let stdin = stdio.stdin.then(|| self.writer()).transpose()?;
        let stdout = stdio.stdout || command.pty.is_some();
        let stdout = stdout.then(|| self.reader()).transpose()?;
        let stderr = stdio.stderr && command.pty.is_none();
        let stderr = stderr.then(|| self.reader()).transpose()?;
        let op = Operation::Exec(Box::new(wire::Exec {
            argv: command.argv,
            env: command.env,
            clear_env: command.clear_env,
            workdir: command.workdir,
            user: command.user,
            root: command.root,
            pty: command.pty,
            stdin: stdin.as_ref().map(|stream| stream.0),
            stdout: stdout.as_ref().map(|stream| stream.0),
            stderr: stderr.as_ref().map(|stream| stream.0),
        }));
        let (ended, end) = oneshot::channel();
        let mut exec = Exec {
            stdin: None,
            stdout: None,
            stderr: None,
            id: 0,
            pid: None,
            session: self.clone(),
            end: End::Waiting(end),
        };
        let mut readers = Vec::new();
        for (stream, ours) in [(stdout, &mut exec.stdout), (stderr, &mut exec.stderr)] {
            if let Some((id, sender, reader)) = stream {
                readers.push((id, sender));
                *ours = Some(reader);
            }
        }
        let mut writer = None;
        if let Some((id, gate, ours)) = stdin {
            writer = Some((id, gate));
            exec.stdin = Some(ours);
        }
        let (id, result) = self
            .send(op, |ask| {
                ask.readers = readers;
                ask.writer = writer;
                ask.exec = Some(ended);
            })
            .await;
        exec.id = id;
        match result {
            Ok(Response::Started { pid }) => exec.pid = Some(pid),
            Ok(_) => {}
            Err(SessionError::Refused(error)) => {
                let end = match error.step {
                    ErrorStage::Find => ExecEnd::NotFound,
                    ErrorStage::Invoke => ExecEnd::NotInvocable(error.errno.unwrap_or(0)),
                    _ => return Err(SessionError::Refused(error)),
                };
                exec.end = End::Known(end);
                (exec.stdin, exec.stdout, exec.stderr) = (None, None, None);
            }
            Err(error) => return Err(error),
        }
        Ok(exec)
    }
}
