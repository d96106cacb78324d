//! What the program inside the guest needs: children of a process with one thread, terminals,
//! entropy, extended attributes.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{ForkResult, Pid};

/// Forks a child that does `work` and ends with the status that it gives.
///
/// # Errors
/// What fork(2) says, and EDEADLK where this process has more than one thread: `work` may take
/// locks, and a thread that the child does not have could hold them.
pub fn fork_child(work: impl FnOnce() -> u8) -> io::Result<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    // SAFETY: this is the process's only thread, so the child's memory is consistent, no lock
    // is held by somebody else, and it may do all that the parent may. It leaves by _exit, so
    // that no destructor of the parent's runs twice.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = work();
            // SAFETY: _exit never returns and touches no memory.
            unsafe { libc::_exit(i32::from(status)) }
        }
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// With this status.
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

/// Every signal back to its default action, and none blocked: what a command starts with.
pub fn default_signals() {
    // The kernel's struct sigaction, all zero: SIG_DFL, no flags. Not through libc, which keeps
    // 32 and 33 for itself, and whoever started the agent may have ignored them.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // SAFETY: the kernel reads 32 bytes, which are live; SIG_DFL installs no code of ours. For
        // SIGKILL and SIGSTOP it fails, harmlessly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null::<u64>(),
                8_usize,
            )
        };
    }
    // Cannot fail with these arguments.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Makes a terminal the controlling one of this process, a session leader without any.
///
/// # Errors
/// What TIOCSCTTY says.
pub fn control_terminal(terminal: impl AsFd) -> io::Result<()> {
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCSCTTY takes a number and touches no memory of ours.
    done(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) })
}

/// Sets a terminal's size in characters.
///
/// # Errors
/// What TIOCSWINSZ says.
pub fn set_window_size(terminal: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one winsize, which is live.
    done(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) })
}

/// A terminal's lines and columns.
///
/// # Errors
/// It is no terminal, or does not know.
pub fn window_size(terminal: impl AsFd) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: the kernel writes one winsize, which is live.
    done(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) })?;
    match size {
        size if size.ws_row > 0 && size.ws_col > 0 => Ok((size.ws_row, size.ws_col)),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Brings the loopback interface up.
///
/// # Errors
/// The kernel has none, or this is not root.
pub fn loopback_up() -> io::Result<()> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads one ifreq, which is live, its name ended by a zero.
    done(unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    })
}

/// Has the kernel read a disk's partition table again (BLKRRPART of <linux/fs.h>).
///
/// # Errors
/// Some of its partitions are in use, or it cannot have any.
pub fn reread_partitions(disk: impl AsFd) -> io::Result<()> {
    const BLKRRPART: libc::Ioctl = nix::request_code_none!(0x12, 95);
    let fd = disk.as_fd().as_raw_fd();
    // SAFETY: it takes no argument.
    done(unsafe { libc::ioctl(fd, BLKRRPART) })
}

/// `struct rand_pool_info` of <linux/random.h> with the most bytes that are taken at once.
#[repr(C)]
struct RandPoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; 512],
}

const RNDADDENTROPY: libc::Ioctl = nix::request_code_write!(b'R', 0x03, size_of::<[i32; 2]>());
const RNDRESEEDCRNG: libc::Ioctl = nix::request_code_none!(b'R', 0x07);

/// Mixes `bytes` into the kernel's random numbers, credits them in full, and makes the kernel
/// start anew from them at once. `device` is /dev/urandom, opened for writing.
///
/// # Errors
/// What the ioctls say: EPERM without CAP_SYS_ADMIN.
pub fn add_entropy(device: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let fd = device.as_fd().as_raw_fd();
    for part in bytes.chunks(512) {
        let mut info = RandPoolInfo {
            entropy_count: part.len() as libc::c_int * 8,
            buf_size: part.len() as libc::c_int,
            buf: [0; 512],
        };
        info.buf[..part.len()].copy_from_slice(part);
        // SAFETY: the kernel reads the two numbers and `buf_size` bytes, all within `info`.
        done(unsafe { libc::ioctl(fd, RNDADDENTROPY, &raw const info) })?;
    }
    // SAFETY: RNDRESEEDCRNG takes no argument.
    done(unsafe { libc::ioctl(fd, RNDRESEEDCRNG) })
}

/// Sets the hardware address of a network interface (netdevice(7), SIOCSIFHWADDR). `socket` is
/// any socket of the internet's.
///
/// # Errors
/// What the ioctl says: EBUSY where the device must be down for that.
pub fn set_hardware_address(socket: impl AsFd, name: &CStr, address: [u8; 6]) -> io::Result<()> {
    // SAFETY: all zero is a valid ifreq: an empty name and no address.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = name.to_bytes();
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    let signed = |byte: u8| libc::c_char::from_ne_bytes([byte]);
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = signed(*from);
    }
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().zip(address) {
        *to = signed(from);
    }
    request.ifr_ifru.ifru_hwaddr = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: data,
    };
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one ifreq, which is live.
    done(unsafe { libc::ioctl(fd, libc::SIOCSIFHWADDR, &raw const request) })
}

fn done(result: libc::c_int) -> io::Result<()> {
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Takes over a descriptor that this program was started with, told by its number. Each number
/// may be taken once.
///
/// # Errors
/// EBADF where it is not open.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD changes a flag; on a number that is not open it fails with EBADF.
    done(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the number is open, was opened before this program began, and by contract
    // nothing else in it owns the number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The names of the extended attributes of a file, links not followed; each ends in NUL.
///
/// # Errors
/// What llistxattr(2) says; ENOTSUP where the filesystem has none.
pub fn attribute_names(path: &CStr) -> io::Result<Vec<u8>> {
    // SAFETY: the path ends in NUL and the kernel writes at most `len` bytes.
    roomy(|names| unsafe {
        libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len())
    })
}

/// The value of an extended attribute of a file, links not followed.
///
/// # Errors
/// What lgetxattr(2) says.
pub fn attribute(path: &CStr, name: &CStr) -> io::Result<Vec<u8>> {
    // SAFETY: both strings end in NUL and the kernel writes at most `len` bytes.
    roomy(|value| unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    })
}

/// What a call writes: most have little to say, and the kernel itself sets aside as much room as
/// it is offered, so it is offered its own limit (XATTR_LIST_MAX, XATTR_SIZE_MAX) only if it asks.
fn roomy(mut call: impl FnMut(&mut [u8]) -> libc::ssize_t) -> io::Result<Vec<u8>> {
    let mut room = vec![0_u8; 512];
    let size = match Errno::result(call(&mut room)) {
        Err(Errno::ERANGE) => {
            room = vec![0_u8; 65_536];
            Errno::result(call(&mut room))?
        }
        result => result?,
    };
    room.truncate(size as usize);
    Ok(room)
}

/// Sets an extended attribute of a file, links not followed.
///
/// # Errors
/// What lsetxattr(2) says.
pub fn set_attribute(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: both strings end in NUL and the kernel reads `len` bytes of the value.
    done(unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    })
}

/// Sets an extended attribute of a file that is open in any way, as a place only for instance,
/// by the path of its number below /proc. That is a link, and what it leads to is never followed
/// further.
///
/// # Errors
/// What setxattr(2) says.
pub fn set_attribute_by_number(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: as above.
    done(unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    })
}
