//! A FUSE filesystem in a mount namespace of a child's own: it is gone with the child's last process.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::unistd::{Gid, Pid, Uid, getppid};

use super::{done, send_descriptor};

/// What a child does between fork and exec. Everything is made before fork.
#[derive(Debug)]
pub struct PrivateMount {
    target: CString,
    options: CString,
    /// Where the device gets its number, which `options` has.
    device: OwnedFd,
    /// Where the device is sent.
    socket: OwnedFd,
    /// For a user who may not mount: files of /proc/self, and what to write there.
    user_namespace: Option<[(CString, Vec<u8>); 3]>,
    parent: Pid,
}

impl PrivateMount {
    /// A mount at `target`, a directory. Its device is sent to the other end of `socket`.
    pub fn new(target: CString, socket: OwnedFd) -> io::Result<Self> {
        let (user, group) = (Uid::effective(), Gid::effective());
        let device = socket.try_clone()?;
        let options = format!(
            "fd={},rootmode=40000,user_id={user},group_id={group},allow_other",
            device.as_raw_fd()
        );
        let file = |name: &str, text: String| {
            Ok::<_, io::Error>((
                CString::new(format!("/proc/self/{name}"))?,
                text.into_bytes(),
            ))
        };
        let user_namespace = match user.is_root() {
            true => None,
            false => Some([
                file("setgroups", "deny".to_owned())?,
                file("uid_map", format!("{user} {user} 1"))?,
                file("gid_map", format!("{group} {group} 1"))?,
            ]),
        };
        Ok(Self {
            target,
            options: CString::new(options)?,
            device,
            socket,
            user_namespace,
            parent: Pid::this(),
        })
    }

    /// Makes `command` mount in its child, which dies with this process. Spawn from the main thread.
    pub fn apply(self, command: &mut Command) {
        // SAFETY: `in_child` only makes system calls, by memory that was allocated before: it takes no lock
        // and allocates nothing, so it is sound between fork and exec.
        unsafe {
            command.pre_exec(move || self.in_child());
        }
    }

    fn in_child(&self) -> io::Result<()> {
        let namespaces = match &self.user_namespace {
            Some(_) => libc::CLONE_NEWUSER | libc::CLONE_NEWNS,
            None => libc::CLONE_NEWNS,
        };
        // SAFETY: unshare(2) takes flags; this process has one thread.
        done(unsafe { libc::unshare(namespaces) })?;
        for (path, text) in self.user_namespace.iter().flatten() {
            let file = open(path, libc::O_WRONLY)?;
            // SAFETY: the text lives until the call returns.
            let written =
                unsafe { libc::write(file.as_raw_fd(), text.as_ptr().cast(), text.len()) };
            nix::errno::Errno::result(written)?;
        }
        let none = std::ptr::null();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: mount(2) reads strings that end with NUL, and no other of its arguments.
        done(unsafe { libc::mount(none, c"/".as_ptr(), none, private, none.cast()) })?;
        let opened = open(c"/dev/fuse", libc::O_RDWR)?;
        let number = self.device.as_raw_fd();
        // SAFETY: both numbers are descriptors of this process.
        done(unsafe { libc::dup3(opened.as_raw_fd(), number, libc::O_CLOEXEC) })?;
        let (source, kind) = (c"bivouac".as_ptr(), c"fuse.bivouac".as_ptr());
        let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;
        let options = self.options.as_ptr().cast();
        // SAFETY: mount(2) reads strings that end with NUL.
        done(unsafe { libc::mount(source, self.target.as_ptr(), kind, flags, options) })?;
        send_descriptor(self.socket.as_fd(), self.device.as_fd())?;
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        if getppid() != self.parent {
            // The parent died before the signal was set, so it will never be sent.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    }
}

fn open(path: &std::ffi::CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the path ends with NUL.
    let opened = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) };
    let number = nix::errno::Errno::result(opened)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
