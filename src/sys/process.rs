//! Between fork and exec, and what a forked child or a signal needs.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, getppid};

/// What a child sets up between fork and exec.
#[derive(Clone, Debug)]
pub struct ChildSetup {
    /// Descriptors that stay open over exec, under the number that they have here.
    inherit: Vec<RawFd>,
    /// The largest file that the child may write, in bytes (RLIMIT_FSIZE). A write beyond it
    /// fails with EFBIG: SIGXFSZ is ignored in the child.
    max_file_size: Option<u64>,
    parent: Pid,
}

impl ChildSetup {
    /// For a child of the calling process that inherits `descriptors`, and no others but
    /// 0, 1 and 2.
    pub fn new(descriptors: &[BorrowedFd<'_>], max_file_size: Option<u64>) -> Self {
        Self {
            inherit: descriptors.iter().map(AsRawFd::as_raw_fd).collect(),
            max_file_size,
            parent: Pid::this(),
        }
    }

    /// Makes `command` do the set-up in its child. Call from the main thread, and spawn from
    /// it: the child is killed when the *thread* that forked it ends (prctl(2),
    /// PR_SET_PDEATHSIG).
    pub fn apply(self, command: &mut Command) {
        // SAFETY: `in_child` calls only async-signal-safe functions (setsid, sigaction,
        // close_range, fcntl, getrlimit, setrlimit, prctl, getppid): it takes no lock and allocates
        // nothing, so it is sound between fork and exec.
        unsafe {
            command.pre_exec(move || self.in_child());
        }
    }

    fn in_child(&self) -> io::Result<()> {
        // Own session: Ctrl-C in the terminal reaches bivouac alone.
        nix::unistd::setsid()?;
        reset_signal_dispositions();
        // No core file: it would be left behind, and it would hold the guest's memory. One
        // byte, not zero, because a core_pattern that pipes ignores zero (core(5)).
        lower_limit(Resource::RLIMIT_CORE, 1)?;
        if let Some(limit) = self.max_file_size {
            lower_limit(Resource::RLIMIT_FSIZE, limit)?;
        }
        close_on_exec_from(3)?;
        for fd in &self.inherit {
            // SAFETY: F_SETFD changes a flag of the descriptor table entry; the number was
            // taken from a live descriptor, whose copy the fork gave us.
            if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        // Last, because a change of credentials would clear it.
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        if getppid() != self.parent {
            // The parent died before the signal was asked for, so none will come.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    }
}

/// Sets both limits of `resource` to `limit`, or leaves them where they are lower still: nobody
/// but root may raise a hard limit.
fn lower_limit(resource: Resource, limit: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let limit = limit.min(hard);
    Ok(setrlimit(resource, limit, limit)?)
}

/// Every signal back to its default, but SIGXFSZ, which is ignored so that a write over
/// RLIMIT_FSIZE is an error and not the end.
fn reset_signal_dispositions() {
    for signal in 1..=64 {
        let action = if signal == libc::SIGXFSZ {
            libc::SIG_IGN
        } else {
            libc::SIG_DFL
        };
        // SAFETY: signal(2) with SIG_DFL or SIG_IGN installs no code of ours; for a number
        // that cannot be changed (SIGKILL, SIGSTOP, glibc's own) it fails, harmlessly.
        unsafe { libc::signal(signal, action) };
    }
}

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// What getrlimit(2) says, on a kernel without close_range(2).
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: CLOSE_RANGE_CLOEXEC closes nothing; it sets a flag on the entries of this
    // process's descriptor table.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        return Ok(());
    }
    // Linux before 5.11: one at a time.
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    for fd in first..soft.min(65_536) as RawFd {
        // SAFETY: F_SETFD on a number that is not open fails with EBADF, harmlessly.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Forks a child that runs `work` and ends, and gives its process id.
///
/// The child must not touch what threads of the parent may have locked; `work` is for a few
/// system calls. Its status is 0.
pub fn fork_and_run(work: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: called before any thread of ours is started, by contract with the one caller
    // (machine::terminal), so the child's memory is consistent; it leaves by _exit, which
    // runs no destructor or atexit handler of the parent's.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => {
            work();
            // SAFETY: _exit never returns and touches no memory.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Closes every descriptor of this process but `keep`.
///
/// Only for a forked child whose owners of the other descriptors will never run again.
pub fn keep_only_open<const N: usize>(keep: [BorrowedFd<'_>; N]) {
    let mut keep = keep.map(|fd| fd.as_raw_fd() as libc::c_uint);
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep {
        if first < fd {
            close_range(first, fd - 1);
        }
        first = fd + 1;
    }
    close_range(first, libc::c_uint::MAX);
}

fn close_range(first: libc::c_uint, last: libc::c_uint) {
    // SAFETY: only for `keep_only_open`, in whose process nothing uses these numbers again.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // Linux before 5.9, or a container's filter of system calls: one at a time.
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft.min(65_536));
    for fd in first..=last.min(limit as libc::c_uint) {
        // SAFETY: as above; a number that is not open fails with EBADF, harmlessly.
        unsafe { libc::close(fd as RawFd) };
    }
}

/// Stops this process, or the whole job that it is part of, as Ctrl-Z in a terminal does, and
/// returns when it goes on.
///
/// The signal is SIGTSTP with its default action, because the kernel then declines where
/// nobody could ever continue the job: a process group without a job-control shell above it
/// (setpgid(2), "orphaned"). In that case this returns at once.
pub fn stop_like_a_terminal(whole_job: bool) -> io::Result<()> {
    use nix::sys::signal::{
        SaFlags, SigAction, SigHandler, SigSet, Signal, killpg, raise, sigaction,
    };
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    let ours = unsafe { sigaction(Signal::SIGTSTP, &default) }?;
    let stopped = if whole_job {
        killpg(Pid::from_raw(0), Signal::SIGTSTP)
    } else {
        raise(Signal::SIGTSTP)
    };
    // SAFETY: this action was installed before, by whoever installed it.
    unsafe { sigaction(Signal::SIGTSTP, &ours) }?;
    Ok(stopped?)
}

/// Children are to be waited for. Where whoever started us ignores SIGCHLD, which a program
/// inherits, the kernel would reap them itself and nobody would learn how they ended.
pub fn keep_children_for_waiting() -> io::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default action runs no code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    Ok(())
}

/// Whether `signal` is ignored, as `nohup` and a shell's background jobs have it. A program
/// that inherits that leaves it so.
pub fn is_ignored(signal: nix::sys::signal::Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null new action sigaction(2) changes nothing; it fills `action`, which is
    // read only where it said so.
    unsafe {
        libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
