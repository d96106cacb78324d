//! Files that this process opens for a child: a system call of the child that opens something for reading and
//! writing waits until a thread here has put a descriptor of another access mode in its place
//! (seccomp_unotify(2)). Linux 5.9.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{done, receive_descriptor, send_descriptor};

/// Offsets in `struct seccomp_data` of <linux/seccomp.h>; of the third argument, its low half.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const THIRD_ARGUMENT: u32 = 16 + 2 * 8;

/// AUDIT_ARCH_X86_64 of <linux/audit.h>.
const X86_64: u32 = 0xc000_003e;

/// Notifies of openat(2) with exactly O_RDWR, and allows all else. QEMU before 8.2 opens the file of its
/// memory so, and nothing else: its other calls have O_CLOEXEC.
fn filter() -> [libc::sock_filter; 8] {
    let instruction = |code, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let unless_equal = |value, skipped| {
        let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        instruction(code, 0, skipped, value)
    };
    let answer = |value| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    [
        load(ARCHITECTURE),
        unless_equal(X86_64, 5),
        load(NUMBER),
        unless_equal(libc::SYS_openat as u32, 3),
        load(THIRD_ARGUMENT),
        unless_equal(libc::O_RDWR as u32, 1),
        answer(libc::SECCOMP_RET_USER_NOTIF),
        answer(libc::SECCOMP_RET_ALLOW),
    ]
}

/// Installs the filter for this thread. Async-signal-safe.
fn install() -> io::Result<OwnedFd> {
    let mut filter = filter();
    let program = libc::sock_fprog {
        len: filter.len() as libc::c_ushort,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes a number.
    done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    let (mode, flags) = (
        libc::SECCOMP_SET_MODE_FILTER,
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    );
    // SAFETY: the program lives until the call returns, and has `len` instructions.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    let number = nix::errno::Errno::result(result)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number as RawFd) })
}

/// Whether this kernel lets a process answer the system calls of its children. It does not if this process
/// itself has such a supervisor, as in some containers.
pub fn can_answer_opens() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    // A filter is that of a thread and ends with it.
    let tried = || std::thread::spawn(|| install().is_ok()).join();
    *CAN.get_or_init(|| tried().unwrap_or(false))
}

/// In the child: installs the filter, and sends the descriptor by which its calls are answered. The last
/// step but the sandbox's own filters, which need not allow this. Async-signal-safe.
pub(super) fn hand_over(socket: BorrowedFd<'_>) -> io::Result<()> {
    let listener = install()?;
    send_descriptor(socket, listener.as_fd())
}

/// The answers for a child that is yet to be started.
#[derive(Debug)]
pub struct OpenAnswers {
    ours: UnixStream,
}

impl OpenAnswers {
    /// Returns also what the child has in [`super::Confinement::answered`].
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self { ours }, theirs.into()))
    }

    /// The child was started: from now on a thread gives it `file` for the first call. The others are left to
    /// the kernel. The thread ends with the child.
    pub fn give(self, file: OwnedFd) -> io::Result<()> {
        let listener = receive_descriptor(self.ours.as_fd())?;
        let answer = move || {
            // An error is the end of the child, or of its call.
            let _ = answer_all(listener.as_fd(), file.as_fd());
        };
        std::thread::Builder::new().spawn(answer)?;
        Ok(())
    }
}

fn answer_all(listener: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    let mut is_given = false;
    loop {
        let mut asked = [PollFd::new(listener, PollFlags::POLLIN)];
        match poll(&mut asked, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            polled => polled?,
        };
        let ready = asked[0].revents().unwrap_or(PollFlags::POLLHUP);
        if !ready.contains(PollFlags::POLLIN) {
            // No process has the filter any more.
            return Ok(());
        }
        // SAFETY: all fields of the structure may be zero, as the request demands.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        if request(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut call).is_err() {
            // The call was interrupted, by a signal or by the child's end.
            continue;
        }
        let answered = match is_given {
            true => leave_to_kernel(listener, call.id),
            false => give(listener, call.id, file),
        };
        // A call that was interrupted is made again.
        is_given |= answered.is_ok();
    }
}

/// Makes the call return a duplicate of `file`.
fn give(listener: BorrowedFd<'_>, id: u64, file: BorrowedFd<'_>) -> io::Result<()> {
    let mut added = libc::seccomp_notif_addfd {
        id,
        flags: 0,
        srcfd: file.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: libc::O_CLOEXEC as u32,
    };
    let number = request(listener, libc::SECCOMP_IOCTL_NOTIF_ADDFD, &mut added)?;
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: i64::from(number),
        error: 0,
        flags: 0,
    };
    request(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut answer).map(drop)
}

fn leave_to_kernel(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: 0,
        flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
    };
    request(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut answer).map(drop)
}

/// `T` is the structure that the request `code` is for.
fn request<T>(
    listener: BorrowedFd<'_>,
    code: libc::Ioctl,
    data: &mut T,
) -> io::Result<libc::c_int> {
    // SAFETY: the callers pass each request its own structure of <linux/seccomp.h>, which lives until the
    // call returns.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), code, std::ptr::from_mut(data)) };
    Ok(nix::errno::Errno::result(result)?)
}
