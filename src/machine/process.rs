//! The QEMU process: started so that it cannot outlive this process, reaped, and the end of its output
//! kept. Knows nothing of QMP or disks.

#![allow(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::fcntl::OFlag;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::sys::{self, ChildSetup, Confinement};

/// How much of QEMU's output is kept for an error message, in bytes.
const TAIL: usize = 8 * 1024;

/// Every QEMU that may be running, as a pidfd.
static RUNNING: Mutex<Vec<Weak<OwnedFd>>> = Mutex::new(Vec::new());

/// Kills every QEMU, from any thread. None is reaped.
pub fn kill_all() {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    for pidfd in running.iter().filter_map(Weak::upgrade) {
        // Fails if it has exited.
        let _ = sys::kill_by_pidfd(pidfd.as_fd());
    }
}

/// A QEMU that runs, or has exited and was reaped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// For [`kill_all`]; None before Linux 5.3.
    _pidfd: Option<Arc<OwnedFd>>,
    output: pipe::Receiver,
    tail: VecDeque<u8>,
}

impl Process {
    /// Starts `program`. Must be called from the main thread: the kernel kills QEMU when the
    /// thread that started it ends.
    ///
    /// QEMU inherits the descriptors under the numbers that they have in this process. The caller
    /// keeps those in `borrowed`; those in `given` are closed here, so that QEMU holds their only
    /// copy and its end is seen as end-of-file. `max_file_size` is its RLIMIT_FSIZE, in bytes.
    /// `environment` replaces that of this process if it is confined.
    pub fn spawn(
        program: &Path,
        args: &[OsString],
        borrowed: &[BorrowedFd<'_>],
        given: Vec<OwnedFd>,
        max_file_size: Option<u64>,
        confinement: Confinement,
        environment: Option<Vec<(String, OsString)>>,
    ) -> io::Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        // Its input is at its end. There need be no /dev/null.
        let (empty, _) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let mut command = Command::new(program);
        if let Some(environment) = environment {
            command.env_clear().envs(environment);
        }
        command
            .args(args)
            .env("LC_ALL", "C")
            .stdin(empty)
            .stdout(write.try_clone()?)
            .stderr(write)
            .kill_on_drop(true);
        let mut fds: Vec<_> = given.iter().map(AsFd::as_fd).collect();
        fds.extend_from_slice(borrowed);
        ChildSetup::new(&fds, max_file_size, confinement).apply(command.as_std_mut());
        let child = command.spawn()?;
        let pidfd = child.id().and_then(|id| sys::pidfd(id).ok()).map(Arc::new);
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|other| other.strong_count() > 0);
        running.extend(pidfd.as_ref().map(Arc::downgrade));
        drop(running);
        let output = pipe::Receiver::from_owned_fd(read)?;
        Ok(Self {
            child,
            _pidfd: pidfd,
            output,
            tail: VecDeque::new(),
        })
    }

    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until QEMU exits and keeps the end of its output. Cancel-safe.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let mut buffer = [0; 4096];
        let mut open = true;
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status?,
                read = self.output.read(&mut buffer), if open => match read {
                    Ok(0) | Err(_) => open = false,
                    Ok(n) => keep(&mut self.tail, &buffer[..n]),
                },
            }
        };
        // The last output is still in the pipe. Not read to the end: a process that inherited the
        // pipe could hold it open.
        while let Ok(n @ 1..) = self.output.try_read(&mut buffer) {
            keep(&mut self.tail, &buffer[..n]);
        }
        Ok(status)
    }

    /// Waits for QEMU to exit until `deadline`, then kills it. It is reaped when this returns.
    /// Cancel-safe.
    pub async fn wait_or_kill(&mut self, deadline: Instant) -> io::Result<ExitStatus> {
        match tokio::time::timeout_at(deadline, self.wait()).await {
            Ok(status) => status,
            Err(_) => self.kill().await,
        }
    }

    /// Kills QEMU and reaps it. SIGKILL at once: the machine has nothing to save, none of its files
    /// has a name, and a stopped or hung QEMU ignores gentler signals.
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        // Fails only if it has already been reaped.
        let _ = self.child.start_kill();
        self.wait().await
    }

    pub fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

fn keep(tail: &mut VecDeque<u8>, bytes: &[u8]) {
    tail.extend(bytes);
    let excess = tail.len().saturating_sub(TAIL);
    tail.drain(..excess);
}
