//! Children of a process with one thread, and the descriptors that this program was started
//! with.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{ForkResult, Pid};

/// Forks a child that does `work` and exits with the status that it returns.
///
/// Fails with EDEADLK if this process has more than one thread: `work` may take locks, and a
/// thread that the child does not have could hold them.
pub fn fork_child(work: impl FnOnce() -> u8) -> io::Result<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    // SAFETY: this is the process's only thread, so the child's memory is consistent, no other
    // thread holds a lock, and the child may do all that the parent may. It leaves by _exit, so
    // that no destructor of the parent runs twice.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = work();
            // SAFETY: _exit never returns and touches no memory.
            unsafe { libc::_exit(i32::from(status)) }
        }
    }
}

/// [`fork_child`] with a child in which only the descriptors `keep` are open. Any other that
/// `work` uses fails with EBADF.
pub fn fork_child_keeping<const N: usize>(
    keep: [BorrowedFd<'_>; N],
    work: impl FnOnce() -> u8,
) -> io::Result<Pid> {
    fork_child(|| {
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
        work()
    })
}

/// [`fork_child_keeping`] with a child in a session of its own that no signal ends but SIGKILL: not even the
/// SIGHUP that comes, before its first instruction, when its parent was the leader of a terminal's session.
pub fn fork_guard<const N: usize>(
    keep: [BorrowedFd<'_>; N],
    work: impl FnOnce(),
) -> io::Result<Pid> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let forked = fork_child_keeping(keep, || {
        let _ = nix::unistd::setsid();
        work();
        0
    });
    before.thread_set_mask()?;
    forked
}

fn close_range(first: libc::c_uint, last: libc::c_uint) {
    // SAFETY: only called in a forked child, where the owners of these numbers never run again.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // Linux before 5.9, or a container's system call filter: one at a time.
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft.min(65_536));
    for fd in first..=last.min(limit as libc::c_uint) {
        // SAFETY: as above. A number that is not open fails with EBADF, which is harmless.
        unsafe { libc::close(fd as RawFd) };
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    Exited(u8),
    /// By this signal, which may be a real-time one.
    Signalled(i32),
}

/// Reaps one child that has ended, if there is one. Never waits.
pub fn reap() -> Option<(Pid, Reaped)> {
    let mut status = 0;
    // SAFETY: the kernel writes one int, which is live.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    if pid <= 0 {
        return None;
    }
    let end = match libc::WIFSIGNALED(status) {
        true => Reaped::Signalled(libc::WTERMSIG(status)),
        false => Reaped::Exited(libc::WEXITSTATUS(status) as u8),
    };
    Some((Pid::from_raw(pid), end))
}

/// Takes over a descriptor that this program was started with, by its number.
///
/// Fails with EBADF if it is not open, was taken before, or was opened by this program. The
/// flag close-on-exec tells: an inherited descriptor does not have it, everything that this
/// program opens does, and this function sets it.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD and F_SETFD read and change a flag; on a number that is not open they fail
    // with EBADF.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags == -1 || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: as above.
    super::done(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the number is open, was opened before this program began, and is taken only once,
    // so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: CLOSE_RANGE_CLOEXEC closes nothing; it sets a flag in this process's descriptor
    // table.
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
        // SAFETY: F_SETFD on a number that is not open fails with EBADF, which is harmless.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}
