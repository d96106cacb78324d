//! The set-up of a child between fork and exec, and the signals of this process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::resource::Resource;
use nix::unistd::{Pid, getppid};

use super::confine::Confinement;
use super::lower_limit;

#[derive(Debug)]
pub struct ChildSetup {
    /// Descriptors that stay open across exec, under the same number.
    inherit: Vec<RawFd>,
    /// The largest file that the child may write, in bytes (RLIMIT_FSIZE). A write beyond it
    /// fails with EFBIG: SIGXFSZ is ignored in the child.
    max_file_size: Option<u64>,
    parent: Pid,
    confinement: Confinement,
}

impl ChildSetup {
    /// For a child of this process that inherits `descriptors` and 0, 1 and 2, and no others.
    pub fn new(
        descriptors: &[BorrowedFd<'_>],
        max_file_size: Option<u64>,
        confinement: Confinement,
    ) -> Self {
        Self {
            inherit: descriptors.iter().map(AsRawFd::as_raw_fd).collect(),
            max_file_size,
            parent: Pid::this(),
            confinement,
        }
    }

    /// Makes `command` do the set-up in its child. Spawn from the main thread: the child is killed
    /// when the *thread* that forked it ends (prctl(2), PR_SET_PDEATHSIG).
    pub fn apply(mut self, command: &mut Command) {
        // SAFETY: `in_child` calls only async-signal-safe functions (setsid, sigaction, signal,
        // close_range, fcntl, getrlimit, setrlimit, prctl, getppid, and what [`Confinement`] calls): it takes no lock and allocates
        // nothing, so it is sound between fork and exec.
        unsafe {
            command.pre_exec(move || self.in_child());
        }
    }

    fn in_child(&mut self) -> io::Result<()> {
        // A session of its own: Ctrl-C in the terminal reaches only bivouac.
        nix::unistd::setsid()?;
        super::default_signals();
        // A write beyond RLIMIT_FSIZE is then an error and does not kill the child.
        // SAFETY: SIG_IGN installs no handler.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        // No core file: it would be left behind, and it would hold the guest's memory. One
        // byte, not zero, because a core_pattern that pipes ignores zero (core(5)).
        lower_limit(Resource::RLIMIT_CORE, 1)?;
        if let Some(limit) = self.max_file_size {
            lower_limit(Resource::RLIMIT_FSIZE, limit)?;
        }
        super::close_on_exec_from(3)?;
        for fd in &self.inherit {
            // SAFETY: F_SETFD changes a flag of the descriptor table entry.
            super::done(unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) })?;
        }
        self.confinement.drop_privileges()?;
        // After that, because a change of credentials would clear it.
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        if getppid() != self.parent {
            // The parent died before the signal was set, so it will never be sent.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        self.confinement.enter()
    }
}

/// Stops this process, or the whole job that it is part of, as Ctrl-Z in a terminal does. Returns
/// when it is continued.
///
/// The signal is SIGTSTP with its default action. The kernel ignores that in a process group that
/// no job-control shell could continue (setpgid(2), "orphaned"); this then returns at once.
pub fn stop_like_a_terminal(whole_job: bool) -> io::Result<()> {
    use nix::sys::signal::{
        SaFlags, SigAction, SigHandler, SigSet, Signal, killpg, raise, sigaction,
    };
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action is no handler.
    let ours = unsafe { sigaction(Signal::SIGTSTP, &default) }?;
    let stopped = if whole_job {
        killpg(Pid::from_raw(0), Signal::SIGTSTP)
    } else {
        raise(Signal::SIGTSTP)
    };
    // SAFETY: this action was installed before.
    unsafe { sigaction(Signal::SIGTSTP, &ours) }?;
    Ok(stopped?)
}

/// A descriptor of the process `id`, close-on-exec. Linux 5.3.
pub fn pidfd(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let number = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
    let number = nix::errno::Errno::result(number)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number as RawFd) })
}

/// Sends SIGKILL.
pub fn kill_by_pidfd(process: BorrowedFd<'_>) -> io::Result<()> {
    let (fd, signal) = (process.as_raw_fd(), libc::SIGKILL);
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed; the call reads nothing else.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
    Ok(nix::errno::Errno::result(done).map(drop)?)
}

/// How many bytes, as the kernel counts its buffers, the other end of a UNIX socket has not read yet
/// (SIOCOUTQ of unix(7)).
pub fn unread_by_peer(socket: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    let mut unread = 0;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, writes an integer.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    super::done(result).map(|()| unread)
}

/// Ends this process at once, from any thread, without its destructors.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit never returns and touches no memory.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Sets SIGCHLD to its default action. If it is ignored, which a program inherits, the kernel
/// reaps children itself and their status is lost.
pub fn keep_children_for_waiting() -> io::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default action is no handler.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    Ok(())
}

/// Lets these signals do nothing in this process, unless they are ignored. A program that it executes
/// gets them as usual.
pub fn take_no_notice_of(signals: &[nix::sys::signal::Signal]) -> io::Result<()> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
    extern "C" fn nothing(_: libc::c_int) {}
    let handler = SigHandler::Handler(nothing);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    for signal in signals.iter().filter(|signal| !is_ignored(**signal)) {
        // SAFETY: the handler does nothing.
        unsafe { sigaction(*signal, &action) }?;
    }
    Ok(())
}

/// Whether `signal` is ignored, as under `nohup` and in a shell's background jobs. A program that
/// inherits that should leave it so.
pub fn is_ignored(signal: nix::sys::signal::Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null new action sigaction(2) changes nothing. `action` is read only if the
    // call filled it.
    unsafe {
        libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
