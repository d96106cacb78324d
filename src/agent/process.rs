//! Starts commands: pipes or a terminal, a fork, and a status pipe.
//!
//! The child reports over the status pipe, in lines of JSON. The pipe is closed at execve(2), so
//! nothing on it means that the command runs. A failed step, or what a worker has to say, is
//! written to it.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::unistd::{Pid, pipe2};
use serde::Serialize;

use super::exec::{self, ChildStdio};
use crate::protocol::{Command, ErrorStage, RemoteError, WindowSize};

/// The capacity of a pipe: a large one needs fewer wake-ups.
const PIPE_SIZE: i32 = 256 << 10;

/// A child, and the agent's ends of its descriptors. They are non-blocking.
pub(crate) struct Spawned {
    pub(crate) is_worker: bool,
    /// The process id, and that of the process group.
    pub(crate) pid: Pid,
    pub(crate) status: File,
    pub(crate) terminal: Option<File>,
    pub(crate) stdin: Option<File>,
    pub(crate) stdout: Option<File>,
    pub(crate) stderr: Option<File>,
}

/// Writes a value as one line to the child's end of the status pipe.
pub(crate) fn report<T: Serialize>(mut status: &File, value: &T) {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    // If this fails the agent is gone.
    let _ = status.write_all(&line);
}

pub(crate) fn no_pipe(error: impl Into<io::Error>) -> RemoteError {
    RemoteError::of(ErrorStage::Process, "a pipe", error)
}

pub(crate) fn status_pipe() -> Result<(File, File), RemoteError> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(no_pipe)?;
    Ok((non_blocking(ours).map_err(no_pipe)?, theirs.into()))
}

pub(crate) fn forked(child: io::Result<Pid>) -> Result<Pid, RemoteError> {
    child.map_err(|error| RemoteError::of(ErrorStage::Process, "a process", error))
}

/// Starts a command; `wanted` says which of stdin, stdout and stderr lead to the host. Fails if
/// there are no descriptors, processes or terminals left; what fails in the child is reported over
/// the status pipe.
pub(crate) fn command(command: &Command, wanted: [bool; 3]) -> Result<Spawned, RemoteError> {
    let (status, theirs) = status_pipe()?;
    let (stdio, [stdin, stdout, stderr], terminal) = match command.pty {
        Some(size) => terminal_stdio(wanted[0], size)?,
        None => pipe_stdio(wanted).map_err(no_pipe)?,
    };
    let pid = forked(crate::sys::fork_child(|| {
        report(&theirs, &Err::<(), _>(exec::execute(command, &stdio)));
        1
    }))?;
    Ok(Spawned {
        is_worker: false,
        pid,
        status,
        terminal,
        stdin,
        stdout,
        stderr,
    })
}

/// The child's ends, the agent's ends, and the terminal if there is one.
type Stdio = (ChildStdio, [Option<File>; 3], Option<File>);

fn terminal_stdio(has_input: bool, size: WindowSize) -> Result<Stdio, RemoteError> {
    let (master, slave) = open_terminal(size)
        .map_err(|error| RemoteError::of(ErrorStage::Process, "a terminal", error))?;
    let copy = |file: &File| file.try_clone().map_err(no_pipe);
    let stdin = has_input.then(|| copy(&master)).transpose()?;
    let ours = [stdin, Some(copy(&master)?), None];
    let stdio = ChildStdio {
        stdin: copy(&slave)?,
        stdout: copy(&slave)?,
        stderr: slave,
        is_terminal: true,
    };
    Ok((stdio, ours, Some(master)))
}

fn pipe_stdio(wanted: [bool; 3]) -> io::Result<Stdio> {
    let stdin = pipe(wanted[0], false)?;
    let stdout = pipe(wanted[1], true)?;
    let stderr = pipe(wanted[2], true)?;
    let stdio = ChildStdio {
        stdin: stdin.1,
        stdout: stdout.1,
        stderr: stderr.1,
        is_terminal: false,
    };
    Ok((stdio, [stdin.0, stdout.0, stderr.0], None))
}

/// Makes a pipe: the agent's end, if it is `wanted`, and the child's, else /dev/null.
pub(crate) fn pipe(wanted: bool, to_agent: bool) -> io::Result<(Option<File>, File)> {
    if !wanted {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        return Ok((None, null?));
    }
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    // This fails if the user's limit on pipe memory is reached, and is not essential.
    let _ = fcntl(&read, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
    let (ours, theirs) = match to_agent {
        true => (read, write),
        false => (write, read),
    };
    Ok((Some(non_blocking(ours)?), theirs.into()))
}

fn non_blocking(descriptor: OwnedFd) -> io::Result<File> {
    fcntl(&descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(descriptor.into())
}

/// Opens a new terminal: the agent's end and the command's.
fn open_terminal(size: WindowSize) -> io::Result<(File, File)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = posix_openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(ptsname_r(&master)?)?;
    crate::sys::set_window_size(&slave, size.rows, size.columns)?;
    Ok((File::from(OwnedFd::from(master)), slave))
}
