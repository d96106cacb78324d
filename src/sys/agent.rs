//! What the agent needs: signals, terminals, network interfaces, entropy.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

use super::done;

/// Sets every signal to its default action, and unblocks all: what a program starts with.
/// Async-signal-safe.
pub fn default_signals() {
    // The kernel's struct sigaction, all zero: SIG_DFL, no flags. Not by libc, which reserves 32
    // and 33; the parent of this process may have ignored them.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // SAFETY: the kernel reads 32 bytes, which are live; SIG_DFL installs no handler. For
        // SIGKILL and SIGSTOP it fails, which is harmless.
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

/// Whether QEMU emulates this machine's processors, which then say so.
#[cfg(target_arch = "x86_64")]
pub fn is_emulated() -> bool {
    use std::arch::x86_64::__cpuid;
    // The bit says that a hypervisor's leaves exist.
    let has_hypervisor = __cpuid(1).ecx & (1 << 31) != 0;
    let signature = |leaf: std::arch::x86_64::CpuidResult| [leaf.ebx, leaf.ecx, leaf.edx];
    let tcg = [*b"TCGT", *b"CGTC", *b"GTCG"].map(u32::from_le_bytes);
    has_hypervisor && signature(__cpuid(0x4000_0000)) == tcg
}

#[cfg(not(target_arch = "x86_64"))]
pub fn is_emulated() -> bool {
    false
}

/// Gives the programs that this process executes, and their children, the same addresses each time
/// (personality(2), ADDR_NO_RANDOMIZE). Async-signal-safe.
pub fn fix_addresses() -> io::Result<()> {
    // SAFETY: personality(2) takes a number; this one only asks.
    let now = nix::errno::Errno::result(unsafe { libc::personality(0xffff_ffff) })?;
    let fixed = now as libc::c_ulong | libc::ADDR_NO_RANDOMIZE as libc::c_ulong;
    // SAFETY: as above. It changes only what execve(2) does next.
    done(unsafe { libc::personality(fixed) }.min(0))
}

/// Keeps all freed memory in the heap, from which large blocks are taken as well
/// (M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)).
pub fn keep_freed_memory() {
    for option in [libc::M_TRIM_THRESHOLD, libc::M_MMAP_THRESHOLD] {
        // SAFETY: sets a number of the allocator, up to 32 MiB for the second.
        unsafe { libc::mallopt(option, 32 << 20) };
    }
}

/// Makes a terminal the controlling one of this process, a session leader without one
/// (TIOCSCTTY).
pub fn control_terminal(terminal: impl AsFd) -> io::Result<()> {
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCSCTTY takes a number and touches no memory.
    done(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) })
}

/// Sets a terminal's size in characters.
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

/// A terminal's lines and columns. Fails if it is no terminal, or does not know its size.
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

pub fn loopback_up() -> io::Result<()> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut request = interface_request(c"lo")?;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel reads one ifreq, which is live, its name ended by a zero.
    done(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &raw const request) })
}

/// `struct rand_pool_info` of <linux/random.h>, for up to 512 bytes.
#[repr(C)]
struct RandPoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; 512],
}

const RNDADDENTROPY: libc::Ioctl = nix::request_code_write!(b'R', 0x03, size_of::<[i32; 2]>());
const RNDRESEEDCRNG: libc::Ioctl = nix::request_code_none!(b'R', 0x07);

/// Mixes `bytes` into the kernel's random pool, credits them in full, and reseeds. `device` is
/// /dev/urandom, opened for writing. EPERM without CAP_SYS_ADMIN.
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
/// any internet socket. EBUSY if the device must be down for that.
pub fn set_hardware_address(socket: impl AsFd, name: &CStr, address: [u8; 6]) -> io::Result<()> {
    let mut request = interface_request(name)?;
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().zip(address) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: data,
    };
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one ifreq, which is live.
    done(unsafe { libc::ioctl(fd, libc::SIOCSIFHWADDR, &raw const request) })
}

fn interface_request(name: &CStr) -> io::Result<libc::ifreq> {
    // SAFETY: all zero is a valid ifreq: an empty name and no address.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = name.to_bytes();
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    Ok(request)
}
