//! A program that is started in QEMU's place and tries what a QEMU that was taken over would: one
//! line for each attempt on standard error, `NAME allowed` or `NAME ERRNO`.
//!
//! With `restored` in its name it attacks only when a machine is restored, and is the real QEMU,
//! `qemu` beside it, before, which makes the template. With `survivor` in its name it only tries to
//! outlive bivouac, which its thread's name says.

#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, missing_docs)]
#![allow(clippy::disallowed_macros, clippy::disallowed_methods)]
#![allow(clippy::exit, clippy::panic, clippy::unwrap_used)]

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};

fn main() {
    let mut words = std::env::args_os();
    let name = PathBuf::from(words.next().unwrap());
    let is = |what| name.to_string_lossy().contains(what);
    let rest: Vec<_> = words.collect();
    let restores = rest.iter().any(|word| word == "-incoming");
    if is("restored") && !restores {
        let qemu = name.with_file_name("qemu");
        let error = std::process::Command::new(qemu).args(&rest).exec();
        panic!("the real QEMU: {error}");
    }
    if is("survivor") {
        survive();
    }
    let program = std::env::current_exe().unwrap_or(name);
    let directory = program.parent().unwrap();
    facts();
    files(directory);
    descriptors();
    processes();
    kernel();
    attributes(directory);
    sockets();
    fork();
    // The last one: where it is allowed, it is another program that goes on.
    let words = [c"/bin/true".as_ptr(), std::ptr::null()];
    tell(
        "execute",
        unsafe { libc::execv(words[0], words.as_ptr()) }.into(),
    );
    std::process::exit(1);
}

/// Gives up the parent-death signal, and what else could end it, and waits.
fn survive() -> ! {
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, 0);
        libc::setsid();
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::prctl(libc::PR_SET_NAME, c"orphan".as_ptr());
    }
    loop {
        std::thread::park();
    }
}

fn tell(name: &str, result: c_long) {
    match result {
        -1 => eprintln!("{name} {:?}", Errno::last()),
        _ => eprintln!("{name} allowed"),
    }
}

fn fork() {
    match unsafe { libc::syscall(libc::SYS_fork) } {
        0 => unsafe { libc::_exit(0) },
        result => tell("fork", result),
    }
}

fn facts() {
    eprintln!("environment {}", std::env::vars_os().count());
    let value = |option: c_int| unsafe { libc::prctl(option, 0, 0, 0, 0) };
    eprintln!("uid {}", unsafe { libc::getuid() });
    eprintln!("no-new-privileges {}", value(libc::PR_GET_NO_NEW_PRIVS));
    eprintln!("seccomp {}", value(libc::PR_GET_SECCOMP));
    let bounding = (0..41).filter(|number| {
        let has = unsafe { libc::prctl(libc::PR_CAPBSET_READ, *number, 0, 0, 0) };
        has == 1
    });
    eprintln!("bounding {}", bounding.count());
    let header = [0x2008_0522_u32, 0];
    let mut sets = [u32::MAX; 6];
    let get = libc::SYS_capget;
    unsafe { libc::syscall(get, header.as_ptr(), sets.as_mut_ptr()) };
    eprintln!(
        "capabilities {}",
        sets.iter().filter(|set| **set != 0).count()
    );
}

fn open(name: &str, path: impl AsRef<Path>, flags: c_int) {
    let path = CString::new(path.as_ref().to_str().unwrap()).unwrap();
    tell(
        name,
        unsafe { libc::open(path.as_ptr(), flags, 0o600) }.into(),
    );
}

fn files(directory: &Path) {
    open("secret-read", directory.join("secret"), libc::O_RDONLY);
    open("image-read", directory.join("image"), libc::O_RDONLY);
    open("image-write", directory.join("image"), libc::O_RDWR);
    open(
        "directory-list",
        directory,
        libc::O_RDONLY | libc::O_DIRECTORY,
    );
    open("root-list", "/", libc::O_RDONLY | libc::O_DIRECTORY);
    let new = libc::O_WRONLY | libc::O_CREAT;
    open("file-create", directory.join("created"), new);
    open("tmp-create", directory, libc::O_RDWR | libc::O_TMPFILE);
    open("passwd-read", "/etc/passwd", libc::O_RDONLY);
    open("kvm-open", "/dev/kvm", libc::O_RDWR);
    open("library-write", "/usr/lib/os-release", libc::O_RDWR);
    open(
        "launcher-memory",
        format!("/proc/{}/mem", parent()),
        libc::O_RDWR,
    );
    open(
        "launcher-environment",
        format!("/proc/{}/environ", parent()),
        libc::O_RDONLY,
    );
}

/// Opens what it holds for reading once more, for writing; and writes to what it may write to.
fn descriptors() {
    for fd in 3..64 {
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        let mut found = unsafe { std::mem::zeroed::<libc::stat>() };
        let is_file = unsafe { libc::fstat(fd, &raw mut found) } == 0
            && found.st_mode & libc::S_IFMT == libc::S_IFREG;
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        if !is_file || target.to_string_lossy().starts_with("/memfd:") {
            continue;
        }
        match flags & libc::O_ACCMODE {
            libc::O_RDONLY => open("layer-reopen", format!("/proc/self/fd/{fd}"), libc::O_RDWR),
            libc::O_RDWR if target.to_string_lossy().ends_with("(deleted)") => {
                let written = unsafe { libc::pwrite(fd, c"x".as_ptr().cast(), 1, 1 << 20) };
                tell("overlay-write", written as c_long);
            }
            _ => {}
        }
    }
}

fn parent() -> c_int {
    unsafe { libc::getppid() }
}

fn processes() {
    let none = std::ptr::null::<u8>();
    let launcher = c_long::from(parent());
    let call = |name, number, a: c_long, b: c_long| {
        tell(name, unsafe {
            libc::syscall(number, a, b, none, none, 0, 0)
        });
    };
    call("launcher-signal", libc::SYS_kill, launcher, 0);
    call("launcher-pidfd", libc::SYS_pidfd_open, launcher, 0);
    call(
        "self-signal",
        libc::SYS_kill,
        unsafe { libc::getpid() }.into(),
        0,
    );
    let seize = libc::PTRACE_SEIZE as c_long;
    let traced = unsafe { libc::syscall(libc::SYS_ptrace, seize, launcher, 0, 0) };
    tell("launcher-trace", traced);
    let mut byte = 0_u8;
    let ours = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let theirs = libc::iovec {
        iov_base: main as *mut _,
        iov_len: 1,
    };
    let read = unsafe {
        libc::syscall(
            libc::SYS_process_vm_readv,
            launcher,
            &raw const ours,
            1,
            &raw const theirs,
            1,
            0,
        )
    };
    // EFAULT is the address, not the right.
    match (read, Errno::last()) {
        (-1, Errno::EFAULT) => eprintln!("launcher-read allowed"),
        (result, _) => tell("launcher-read", result),
    }
    tell(
        "death-signal",
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) }.into(),
    );
}

fn kernel() {
    let none = std::ptr::null::<u8>();
    let zeros = [0_u8; 256];
    let call = |name, number, a: *const u8, b: c_long| {
        tell(name, unsafe {
            libc::syscall(number, a, b, none, none, 0, 0)
        });
    };
    call(
        "new-namespace",
        libc::SYS_unshare,
        libc::CLONE_NEWUTS as usize as *const u8,
        0,
    );
    call(
        "filesystem-open",
        libc::SYS_fsopen,
        c"tmpfs".as_ptr().cast(),
        0,
    );
    call("change-root", libc::SYS_chroot, c"/".as_ptr().cast(), 0);
    let (kind, name, process) = (c"user".as_ptr(), c"name".as_ptr(), -2);
    tell("keyring", unsafe {
        libc::syscall(libc::SYS_add_key, kind, name, name, 4, process)
    });
    let mut parameters = zeros;
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
    tell("io-uring", ring);
    tell("message-queue", unsafe {
        libc::syscall(libc::SYS_msgget, 0, 0o600)
    });
    tell("handle", unsafe {
        libc::syscall(libc::SYS_personality, 0xffff_ffff_u32)
    });
}

fn attributes(directory: &Path) {
    let at = |name: &str| CString::new(directory.join(name).to_str().unwrap()).unwrap();
    let (secret, new) = (at("secret"), at("new"));
    let (old, other) = (secret.as_ptr(), new.as_ptr());
    unsafe {
        tell("mode-change", libc::chmod(old, 0o644).into());
        tell("owner-change", libc::chown(old, u32::MAX, u32::MAX).into());
        tell("time-change", libc::utimes(old, std::ptr::null()).into());
        tell("link", libc::symlink(old, other).into());
        tell("unlink", libc::unlink(other).into());
        tell("directory-create", libc::mkdir(other, 0o700).into());
        tell("directory-remove", libc::rmdir(other).into());
        tell(
            "truncate",
            libc::truncate(at("truncated").as_ptr(), 0).into(),
        );
        let value = c"x".as_ptr().cast();
        tell(
            "attribute",
            libc::setxattr(old, c"user.x".as_ptr(), value, 1, 0).into(),
        );
    }
}

fn sockets() {
    for (name, domain) in [
        ("internet", libc::AF_INET),
        ("unix-socket", libc::AF_UNIX),
        ("netlink", libc::AF_NETLINK),
    ] {
        let kind = libc::SOCK_DGRAM;
        tell(name, unsafe { libc::socket(domain, kind, 0) }.into());
    }
    servers_and_clients();
}

/// The same by TCP, to a port where nobody listens.
fn servers_and_clients() {
    let tcp = || unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
    let multipath = libc::IPPROTO_MPTCP;
    tell("tcp", tcp().into());
    let address = |port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // Whatever else fails was not denied.
    let denied = |name, result: c_long| match (result, Errno::last()) {
        (-1, Errno::EACCES | Errno::EPERM) => tell(name, result),
        _ => eprintln!("{name} allowed"),
    };
    denied("multipath", unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_STREAM, multipath).into()
    });
    let (nobody, own) = (address(9), address(9_999));
    denied("tcp-connect", unsafe {
        libc::connect(tcp(), (&raw const nobody).cast(), length).into()
    });
    let (data, flags) = (c"x".as_ptr().cast(), libc::MSG_FASTOPEN);
    denied("tcp-fast-open", unsafe {
        libc::sendto(tcp(), data, 1, flags, (&raw const nobody).cast(), length) as c_long
    });
    denied("tcp-bind", unsafe {
        libc::bind(tcp(), (&raw const own).cast(), length).into()
    });
}
