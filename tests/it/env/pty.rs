//! A program on a pseudo-terminal of its own, as in a terminal window.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::Pid;

use super::bivouac::PATIENCE;

/// The program and the other end of its terminal.
pub struct OnTerminal {
    pub child: Child,
    master: File,
    /// Kept open, so that the terminal and its settings outlive the program.
    _slave: OwnedFd,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl OnTerminal {
    pub fn start(mut command: Command) -> Self {
        if !command.get_envs().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm").env_remove("NO_COLOR");
        }
        let pty = nix::pty::openpty(None, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        let slave = pty.slave.as_raw_fd();
        // SAFETY: setsid and ioctl are async-signal-safe, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                nix::unistd::setsid()?;
                if libc::ioctl(slave, libc::TIOCSCTTY, 0) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let master = File::from(pty.master);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().unwrap(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self {
            child,
            master,
            _slave: pty.slave,
            seen,
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn settings(&self) -> Termios {
        tcgetattr(self.master.as_fd()).unwrap()
    }

    pub fn is_raw(&self) -> bool {
        !self.settings().local_flags.contains(LocalFlags::ICANON)
    }

    /// The same, for [`OnTerminal::wait_until`].
    pub fn is_raw_now(this: &mut Self) -> bool {
        this.is_raw()
    }

    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// How many bytes were typed and read by nobody; makes the terminal raw.
    pub fn unread(&self) -> usize {
        let mut raw = self.settings();
        nix::sys::termios::cfmakeraw(&mut raw);
        tcsetattr(&self._slave, SetArg::TCSANOW, &raw).unwrap();
        let mut count: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int.
        let done = unsafe { libc::ioctl(self._slave.as_raw_fd(), libc::FIONREAD, &mut count) };
        assert_eq!(done, 0);
        count as usize
    }

    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(
                start.elapsed() < PATIENCE,
                "waited in vain until {what}: {}",
                self.seen()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn wait_for(&mut self, text: &str) {
        self.wait_until(&format!("{text:?} is seen"), |this| {
            this.seen().contains(text)
        });
    }

    pub fn wait(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        self.wait_until("the program ends", |this| {
            status = this.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// The state of a process as /proc/PID/stat has it: R, S, T, ...
    pub fn state(pid: Pid) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next())
            .unwrap_or('-')
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
