//! A QEMU without a machine that is started to answer a few QMP commands. This file and
//! `machine/process.rs` are the only ones that start a process.

#![allow(clippy::disallowed_methods)]

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::time::timeout;

use super::client::{Events, Qmp};
use super::codec::QmpError;
use crate::sys;

/// From `quit` until QEMU closes the connection: a few milliseconds.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// A running QEMU. Killed and reaped when dropped.
pub struct QmpProbe {
    qemu: Child,
    socket: UnixStream,
}

impl QmpProbe {
    pub fn start(
        program: &Path,
        args: &[&str],
        confinement: Option<sys::Confinement>,
    ) -> io::Result<Self> {
        let (socket, child_socket) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let mut command = Command::new(program);
        command
            .args(args)
            // QMP is on standard input, a socket that QEMU also writes to.
            .args(["-chardev", "socket,id=qmp,fd=0"])
            .args(["-mon", "chardev=qmp,mode=control"])
            .stdin(Stdio::from(OwnedFd::from(child_socket)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if confinement.is_some() {
            command.env_clear();
        }
        command.env("LC_ALL", "C");
        sys::ChildSetup::new(&[], None, confinement.unwrap_or_default()).apply(&mut command);
        let qemu = command.spawn()?;
        Ok(Self { qemu, socket })
    }

    /// Opens a session for `ask` and then lets QEMU quit. Fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut) after `limit`. Not to be called in a tokio runtime.
    pub fn session<T>(
        &mut self,
        limit: Duration,
        ask: impl AsyncFnOnce(&Qmp) -> Result<T, QmpError>,
    ) -> Result<T, QmpError> {
        let socket = self.socket.try_clone()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let asked = async {
                let socket = tokio::net::UnixStream::from_std(socket)?;
                let (qmp, events) = Qmp::open(socket, |_| false).await?;
                Ok::<_, QmpError>((ask(&qmp).await?, qmp, events))
            };
            let (answer, qmp, events) = timeout(limit, asked)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            let _ = timeout(QUIT_TIMEOUT, quit(&qmp, events)).await;
            Ok(answer)
        })
    }

    /// Kills QEMU and returns the last lines that it wrote to standard error. Reads only what is
    /// there: a child of a wrapper script may keep the other end open.
    pub fn error_output(&mut self) -> Option<String> {
        self.end();
        let mut stderr = self.qemu.stderr.take()?;
        fcntl(&stderr, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
        let mut text = vec![0; 1 << 16];
        let count = stderr.read(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text[..count]);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        let last = &lines[lines.len().saturating_sub(3)..];
        (!last.is_empty()).then(|| last.join("; "))
    }

    fn end(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Lets QEMU end by itself: a wrapper script would not pass our SIGKILL on to it.
async fn quit(qmp: &Qmp, mut events: Events) {
    if qmp.execute(qapi::qmp::quit {}).await.is_ok() {
        while events.recv().await.is_some() {}
    }
}

impl Drop for QmpProbe {
    fn drop(&mut self) {
        self.end();
    }
}
