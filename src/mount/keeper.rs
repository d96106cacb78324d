//! The process that keeps an image mounted for a command: this same program under another name. It makes
//! namespaces of its own, mounts in them, and starts the command. Whatever ends it, bivouac's end above all,
//! ends every process in them, and with the last one the mount is gone.

#![allow(clippy::disallowed_methods)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, getppid};

use crate::sys;

/// The name under which the program is the keeper.
pub(super) const NAME: &str = "bivouac-mount";

/// The device by which a process answers for a filesystem.
const DEVICE: &str = "/dev/fuse";

/// What was not possible. Its number is sent with that of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Namespaces = 1,
    Device = 2,
    Mount = 3,
    Command = 4,
}

impl Step {
    pub const ALL: [Self; 4] = [Self::Namespaces, Self::Device, Self::Mount, Self::Command];
}

/// How long the message about a failure is: the step, and the error's number, little-endian.
pub(super) const FAILURE: usize = 5;

/// Whether this program is the keeper of a mount.
pub fn is_wanted() -> bool {
    std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// Keeps the mount until the command ends. The arguments are the number of the inherited socket, on which
/// the device is sent, the process that waits for it, the directory, and the command.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let mut number = || args.next()?.to_str()?.parse().ok();
    let (Some(socket), Some(parent)) = (number(), number()) else {
        return ExitCode::FAILURE;
    };
    let (Some(target), Ok(socket)) = (args.next(), sys::inherited(socket)) else {
        return ExitCode::FAILURE;
    };
    let mut socket = UnixStream::from(socket);
    match keep(&mut socket, Pid::from_raw(parent), &target, args.collect()) {
        Ok(status) => ExitCode::from(status),
        Err((step, errno)) => {
            // If nobody waits for it, nobody misses it.
            let _ = socket.write_all(&message(step, errno));
            ExitCode::FAILURE
        }
    }
}

fn message(step: Step, errno: Errno) -> [u8; FAILURE] {
    let [one, two, three, four] = (errno as i32).to_le_bytes();
    [step as u8, one, two, three, four]
}

fn keep(
    socket: &mut UnixStream,
    parent: Pid,
    target: &OsStr,
    argv: Vec<OsString>,
) -> Result<u8, (Step, Errno)> {
    die_with(parent).map_err(|errno| (Step::Namespaces, errno))?;
    // They are the command's business.
    let terminal = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP];
    let others = [Signal::SIGTERM, Signal::SIGHUP];
    let unnoticed = sys::take_no_notice_of(&[&terminal[..], &others].concat());
    unnoticed.map_err(|error| (Step::Namespaces, sys::errno_of(&error)))?;
    enter_namespaces().map_err(|errno| (Step::Namespaces, errno))?;
    let device = fs::File::options().read(true).write(true).open(DEVICE);
    let device = device.map_err(|error| (Step::Device, sys::errno_of(&error)))?;
    mount_at(target, &device.into(), socket).map_err(|errno| (Step::Mount, errno))?;
    let failed = |error: io::Error| (Step::Namespaces, sys::errno_of(&error));
    let (watch, leash) = io::pipe().map_err(failed)?;
    let mut leash = Some(leash);
    // The first process of the new namespace, whose end is that of all others there.
    let first = sys::fork_child(|| {
        leash = None;
        first_process(socket, &watch, &argv)
    });
    Ok(wait_for(first.map_err(failed)?))
}

/// Has this process killed when its parent ends.
fn die_with(parent: Pid) -> Result<(), Errno> {
    set_pdeathsig(Signal::SIGKILL)?;
    match getppid() == parent {
        true => Ok(()),
        // It ended before.
        false => Err(Errno::ESRCH),
    }
}

/// Namespaces of mounts and processes; with one of users if this user may not have them otherwise.
fn enter_namespaces() -> Result<(), Errno> {
    let wanted = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let (user, group) = (Uid::effective(), Gid::effective());
    if unshare(wanted).is_err() {
        unshare(wanted | CloneFlags::CLONE_NEWUSER)?;
        let write = |file: &str, text: String| {
            let written = fs::write(Path::new("/proc/self").join(file), text);
            written.map_err(|error| sys::errno_of(&error))
        };
        // user_namespaces(7): a group can be mapped only without setgroups(2).
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("{user} {user} 1"))?;
        write("gid_map", format!("{group} {group} 1"))?;
    }
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
}

fn mount_at(target: &OsStr, device: &OwnedFd, socket: &UnixStream) -> Result<(), Errno> {
    let (user, group) = (Uid::effective(), Gid::effective());
    let number = device.as_raw_fd();
    let options = format!("fd={number},rootmode=40000,user_id={user},group_id={group},allow_other");
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let (source, kind) = (Some("bivouac"), Some("fuse.bivouac"));
    mount(source, target, kind, flags, Some(&options[..]))?;
    let sent = sys::send_descriptor(socket.as_fd(), device.as_fd());
    sent.map_err(|error| sys::errno_of(&error))
}

/// Starts the command and waits for its end. Returns its status, as a shell has it.
fn first_process(mut socket: &UnixStream, watch: &PipeReader, argv: &[OsString]) -> u8 {
    // The keeper may have ended before. It is outside of the namespace, in which it has no number.
    let mut asked = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    let is_alone = set_pdeathsig(Signal::SIGKILL).is_err()
        || poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
    let Some((program, args)) = argv.split_first().filter(|_| !is_alone) else {
        return 1;
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Where it is not allowed, processes have other numbers in /proc.
    let _ = mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>);
    match Command::new(program).args(args).spawn() {
        Ok(child) => {
            let _ = socket.shutdown(std::net::Shutdown::Both);
            wait_for(Pid::from_raw(child.id() as i32))
        }
        Err(error) => {
            let _ = socket.write_all(&message(Step::Command, sys::errno_of(&error)));
            1
        }
    }
}

/// Reaps children until `pid` has ended.
fn wait_for(pid: Pid) -> u8 {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(ended, status)) if ended == pid => return status as u8,
            Ok(WaitStatus::Signaled(ended, signal, _)) if ended == pid => {
                return 128 + signal as u8;
            }
            Err(Errno::ECHILD) => return 1,
            Ok(_) | Err(_) => {}
        }
    }
}
