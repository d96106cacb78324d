//! A process that kills QEMU when the time is up and bivouac is stopped (SIGSTOP), so that none of its
//! threads runs. It ends with bivouac.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sys;

/// How often it looks once the time is up.
const INTERVAL: Duration = Duration::from_millis(500);

/// Ends the guard when it is dropped.
#[derive(Debug)]
pub(crate) struct TimeGuard {
    /// None once it is told to end.
    leash: Option<PipeWriter>,
    pid: Pid,
}

impl TimeGuard {
    /// Counts from now. Fails with EDEADLK if this process has more than one thread (see
    /// [`sys::fork_child`]).
    pub fn start(time: Duration) -> io::Result<Self> {
        let (watch, leash): (OwnedFd, OwnedFd) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let (watch, parent) = (PipeReader::from(watch), Pid::this());
        let pid = sys::fork_guard([watch.as_fd()], || watch_over(&watch, parent, time))?;
        Ok(Self {
            leash: Some(leash.into()),
            pid,
        })
    }
}

impl Drop for TimeGuard {
    fn drop(&mut self) {
        self.leash = None;
        let _ = nix::sys::wait::waitpid(self.pid, None);
    }
}

fn watch_over(watch: &PipeReader, parent: Pid, time: Duration) {
    let start = Instant::now();
    let mut next = time;
    loop {
        let left = next.saturating_sub(start.elapsed());
        if left.is_zero() {
            if is_stopped(parent) {
                kill_machines(parent);
            }
            next = start.elapsed() + INTERVAL;
            continue;
        }
        // In milliseconds, rounded up; a long time in steps.
        let wait = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        let mut asked = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        match poll(&mut asked, wait) {
            Ok(0) | Err(Errno::EINTR) => {}
            // Nothing is ever written: the end.
            Ok(_) | Err(_) => return,
        }
    }
}

/// By the state in /proc/PID/stat, which follows the name (proc(5)).
fn is_stopped(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| state.starts_with(['T', 't']))
}

/// Kills the children of a process that is stopped, and reaps none meanwhile, but for those that run its
/// own program: the guards.
fn kill_machines(parent: Pid) {
    let program = |pid: &str| std::fs::read_link(PathBuf::from(format!("/proc/{pid}/exe")));
    let Ok(own) = program("self") else {
        return;
    };
    let children = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    for child in children.split_whitespace() {
        if !program(child).is_ok_and(|other| other == own)
            && let Ok(child) = child.parse()
        {
            // Fails if it has exited.
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
    }
}
