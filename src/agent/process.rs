//! Starting a command or a job: pipes or a terminal, a fork, and a pipe on which the child
//! tells how it went.
//!
//! That pipe closes at exec: nothing on it means that the command runs. A failed step, and all
//! that a job has to say, comes over it as lines of JSON.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::unistd::{Pid, pipe2};
use serde::Serialize;

use super::child::{self, Ends};
use super::job;
use crate::guest::wire::{ErrorStage, Exec, Operation, RemoteError, WindowSize};

/// What a pipe holds; fewer turns between the child and the loop.
const PIPE: i32 = 256 << 10;

/// A child, and the agent's ends of what leads to it. All of them are non-blocking.
#[derive(Debug)]
pub struct Spawned {
    /// It is a job, not a command.
    pub is_job: bool,
    /// Its process id and the id of its process group.
    pub pid: Pid,
    /// Where it tells how it went.
    pub status: File,
    /// Its terminal.
    pub terminal: Option<File>,
    /// Where its input goes.
    pub stdin: Option<File>,
    /// Where its output comes from.
    pub stdout: Option<File>,
    /// Where its error output comes from.
    pub stderr: Option<File>,
}

/// The child's end of the status pipe.
#[derive(Debug)]
pub struct Status(File);

impl Status {
    /// Tells something, as one line.
    pub fn tell<T: Serialize>(&self, value: &T) {
        let mut line = serde_json::to_vec(value).unwrap_or_default();
        line.push(b'\n');
        // Without the agent there is nobody to be told.
        let _ = (&self.0).write_all(&line);
    }
}

/// Starts a command.
///
/// # Errors
/// There are no descriptors, processes or terminals left. What fails in the child comes over
/// the status pipe.
pub fn command(exec: &Exec) -> Result<Spawned, RemoteError> {
    let failed = |errno: Errno| RemoteError::of(ErrorStage::Process, "a pipe", errno as i32);
    let (status, told) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let mut ours = [None, None, None];
    let mut terminal = None;
    let ends = match exec.pty {
        Some(size) => {
            let (master, slave) = open_terminal(size).map_err(|errno| {
                RemoteError::of(ErrorStage::Process, "a terminal", errno as i32)
            })?;
            let copy = |file: &File| file.try_clone().map_err(|error| failed(errno_of(&error)));
            if exec.stdin.is_some() {
                ours[0] = Some(copy(&master)?);
            }
            ours[1] = Some(copy(&master)?);
            terminal = Some(master);
            Ends {
                stdin: copy(&slave)?,
                stdout: copy(&slave)?,
                stderr: slave,
                terminal: true,
            }
        }
        None => {
            let [stdin, stdout, stderr] = [
                (exec.stdin.is_some(), false),
                (exec.stdout.is_some(), true),
                (exec.stderr.is_some(), true),
            ]
            .map(|(wanted, to_us)| end(wanted, to_us).map_err(failed));
            let (stdin, stdout, stderr) = (stdin?, stdout?, stderr?);
            ours = [stdin.0, stdout.0, stderr.0];
            Ends {
                stdin: stdin.1,
                stdout: stdout.1,
                stderr: stderr.1,
                terminal: false,
            }
        }
    };
    let told = Status(told.into());
    let pid = crate::sys::fork_child(|| {
        told.tell(&Err::<(), _>(child::execute(exec, &ends)));
        1
    })
    .map_err(|error| RemoteError::of(ErrorStage::Process, "a process", errno_of(&error) as i32))?;
    let [stdin, stdout, stderr] = ours;
    Ok(Spawned {
        is_job: false,
        pid,
        status: non_blocking(status).map_err(failed)?,
        terminal,
        stdin,
        stdout,
        stderr,
    })
}

/// Starts what takes long as a process of its own: its data goes over a pipe in place of a
/// command's standard input or output.
///
/// # Errors
/// As for a command.
pub fn job(op: &Operation) -> Result<Spawned, RemoteError> {
    let failed = |errno: Errno| RemoteError::of(ErrorStage::Process, "a pipe", errno as i32);
    let (status, told) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let (data, theirs) = end(true, !matches!(op, Operation::TarIn { .. })).map_err(failed)?;
    let told = Status(told.into());
    let pid = crate::sys::fork_child(|| {
        // The pipes of commands above all: an end held here would keep them from ending.
        crate::sys::keep_only_open([theirs.as_fd(), told.0.as_fd()]);
        job::run(op, &theirs, &told);
        0
    })
    .map_err(|error| RemoteError::of(ErrorStage::Process, "a process", errno_of(&error) as i32))?;
    let (stdin, stdout) = match op {
        Operation::TarIn { .. } => (data, None),
        _ => (None, data),
    };
    Ok(Spawned {
        is_job: true,
        pid,
        status: non_blocking(status).map_err(failed)?,
        terminal: None,
        stdin,
        stdout,
        stderr: None,
    })
}

/// A pipe: our end, where one is wanted, and the child's, else /dev/null.
fn end(wanted: bool, to_us: bool) -> Result<(Option<File>, File), Errno> {
    if !wanted {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        return Ok((None, null.map_err(|error| errno_of(&error))?));
    }
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    // Only a wish: the user's limit on pipe memory may be reached.
    let _ = fcntl(&read, FcntlArg::F_SETPIPE_SZ(PIPE));
    let (ours, theirs) = match to_us {
        true => (read, write),
        false => (write, read),
    };
    Ok((Some(non_blocking(ours)?), theirs.into()))
}

fn non_blocking(descriptor: OwnedFd) -> Result<File, Errno> {
    fcntl(&descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(descriptor.into())
}

/// A new terminal of this size: our end and the command's.
fn open_terminal(size: WindowSize) -> Result<(File, File), Errno> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = posix_openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(ptsname_r(&master)?)
        .map_err(|error| errno_of(&error))?;
    crate::sys::set_window_size(&slave, size.rows, size.columns)
        .map_err(|error| errno_of(&error))?;
    Ok((File::from(OwnedFd::from(master)), slave))
}

/// The system's number of an error.
pub fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}
