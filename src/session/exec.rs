//! Commands in the guest.

use tokio::sync::oneshot;

use super::Session;
use super::error::SessionError;
use super::messages::{Attached, Started};
use super::stream::{StreamReader, StreamWriter};
use crate::protocol::{Command, ErrorStage, ExecEnd, Operation, RemoteError, WindowSize};

/// Which streams of a command are connected; the others are /dev/null. On a terminal, all output
/// arrives on `stdout`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdio {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// A command that was started, or could not be executed. If dropped, the command runs on until
/// the session ends. The streams are independent of it.
#[derive(Debug)]
pub struct Exec {
    /// Drop it to send end-of-file.
    pub stdin: Option<StreamWriter>,
    /// Standard output, or all output of the terminal.
    pub stdout: Option<StreamReader>,
    pub stderr: Option<StreamReader>,
    control: ExecControl,
    pid: Option<i32>,
    end: End,
}

/// Reaches a command that was started.
#[derive(Clone, Debug)]
pub struct ExecControl {
    id: u64,
    session: Session,
}

impl ExecControl {
    /// Sends a signal to its process group. Fails with ESRCH if it has ended.
    pub async fn signal(&self, signal: i32) -> Result<(), SessionError> {
        let exec = self.id;
        let operation = Operation::Signal { exec, signal };
        self.session.request(operation).await
    }

    /// Sets the size of its terminal. Fails with ENOTTY without one, with ESRCH if it has ended.
    pub async fn resize(&self, size: WindowSize) -> Result<(), SessionError> {
        let exec = self.id;
        self.session.request(Operation::Resize { exec, size }).await
    }
}

#[derive(Debug)]
enum End {
    Waiting(oneshot::Receiver<ExecEnd>),
    Known(ExecEnd),
}

impl Exec {
    /// Its process id in the guest; `None` if it could not be executed.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// What reaches it, apart from its streams and its end.
    pub fn control(&self) -> &ExecControl {
        &self.control
    }

    /// [`ExecControl::signal`]
    pub async fn signal(&self, signal: i32) -> Result<(), SessionError> {
        self.control.signal(signal).await
    }

    /// [`ExecControl::resize`]
    pub async fn resize(&self, size: WindowSize) -> Result<(), SessionError> {
        self.control.resize(size).await
    }

    /// Waits until it ends, but not for its output: read that to its end. May be dropped and
    /// called again. Fails if the session ends first.
    pub async fn wait(&mut self) -> Result<ExecEnd, SessionError> {
        let end = match &mut self.end {
            End::Known(end) => return Ok(*end),
            End::Waiting(end) => end.await.map_err(|_| self.control.session.reason.get())?,
        };
        self.end = End::Known(end);
        Ok(end)
    }
}

impl Session {
    /// [`Session::exec_with`] all three streams.
    pub async fn exec(&self, command: Command) -> Result<Exec, SessionError> {
        let stdio = Stdio {
            stdin: true,
            stdout: true,
            stderr: true,
        };
        self.exec_with(command, stdio).await
    }

    /// Starts a command, and waits until its program is executed. A program that is missing or
    /// cannot be executed is no error but the command's end, without streams.
    ///
    /// An unusable root, user or working directory is [`SessionError::Refused`] with its
    /// [`ErrorStage`].
    pub async fn exec_with(&self, command: Command, stdio: Stdio) -> Result<Exec, SessionError> {
        let mut attached = Attached::default();
        let on_terminal = command.pty.is_some();
        let stdin = (stdio.stdin)
            .then(|| self.writer(&mut attached))
            .transpose()?;
        let mut reader = |wanted: bool| wanted.then(|| self.reader(&mut attached)).transpose();
        let stdout = reader(stdio.stdout || on_terminal)?;
        let stderr = reader(stdio.stderr && !on_terminal)?;
        let (sender, end) = oneshot::channel();
        attached.exec = Some(sender);
        let id = self.next_id();
        let operation = Operation::Exec {
            command: Box::new(command),
            streams: [
                stdin.as_ref().map(|stream| stream.id),
                stdout.as_ref().map(|stream| stream.id),
                stderr.as_ref().map(|stream| stream.id),
            ],
        };
        let result = self.send(id, operation, attached).await;
        let mut exec = Exec {
            stdin,
            stdout,
            stderr,
            control: ExecControl {
                id,
                session: self.clone(),
            },
            pid: None,
            end: End::Waiting(end),
        };
        match result {
            Ok(Started(pid)) => exec.pid = Some(pid),
            Err(SessionError::Refused(error)) => {
                exec.end = End::Known(not_executed(error)?);
                (exec.stdin, exec.stdout, exec.stderr) = (None, None, None);
            }
            Err(error) => return Err(error),
        }
        Ok(exec)
    }
}

fn not_executed(error: RemoteError) -> Result<ExecEnd, SessionError> {
    match error.step {
        ErrorStage::Find => Ok(ExecEnd::NotFound),
        ErrorStage::Invoke => Ok(ExecEnd::NotInvocable(error.errno.unwrap_or(0))),
        _ => Err(SessionError::Refused(error)),
    }
}
