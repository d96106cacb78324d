//! Asks for a passphrase on the user's terminal, without echo. The terminal is restored whatever happens.

#![allow(clippy::disallowed_methods)]

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::libc;
use nix::sys::termios::{self, SetArg, Termios};

use super::terminal::Guard;

/// The longest passphrase, in bytes: what a terminal takes as one line.
const LONGEST: usize = 4096;
/// How often to look for what was typed.
const TICK: Duration = Duration::from_millis(20);

/// The terminal on standard input, with its settings as they were found, and without echo.
#[derive(Debug)]
pub(crate) struct Prompt {
    tty: File,
    original: Termios,
    quiet: Termios,
    guard: Guard,
}

impl Prompt {
    /// `None` if there is nobody to ask. Changes nothing yet. Forks the guard, so call it before any thread
    /// is started.
    pub(crate) fn open() -> Option<Self> {
        if !io::stdin().is_terminal() {
            return None;
        }
        // A description of its own, so that standard input is not made non-blocking for others.
        let tty = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open("/dev/tty")
            .ok()?;
        let original = termios::tcgetattr(&tty).ok()?;
        // The kernel's structure: the guard compares more than what nix has fields for.
        let mut quiet = libc::termios::from(original.clone());
        quiet.c_lflag &= !libc::ECHO;
        quiet.c_lflag |= libc::ICANON | libc::ISIG;
        // A shell would not take the echo away again when a stopped program goes on.
        quiet.c_cc[libc::VSUSP] = 0;
        let quiet = Termios::from(quiet);
        let own = tty.as_fd().try_clone_to_owned().ok()?;
        let guard = Guard::start(own, original.clone(), quiet.clone()).ok()?;
        Some(Self {
            tty,
            original,
            quiet,
            guard,
        })
    }

    /// A line that is typed after `question`, without its end. `None` if the input ended. If this future is
    /// dropped, the terminal is as before.
    pub(crate) async fn ask(&self, question: &str) -> io::Result<Option<Vec<u8>>> {
        termios::tcsetattr(&self.tty, SetArg::TCSAFLUSH, &self.quiet)?;
        let silence = Silence(self);
        write(&self.tty, question);
        let line = read_line(&self.tty).await;
        // The end of the line was not echoed.
        write(&self.tty, "\r\n");
        drop(silence);
        line
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        self.guard.stand_down();
    }
}

/// Nothing can be done if the terminal takes no text.
fn write(tty: &File, text: &str) {
    let _ = nix::unistd::write(tty, text.as_bytes());
}

async fn read_line(mut tty: &File) -> io::Result<Option<Vec<u8>>> {
    let mut line = vec![0; LONGEST];
    loop {
        match tty.read(&mut line) {
            Ok(length) => line.truncate(length),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                tokio::time::sleep(TICK).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        return Ok(match line.last() {
            Some(b'\n') => line.pop().map(|_| line),
            // The end of the input, with what was typed before.
            Some(_) => Some(line),
            None => None,
        });
    }
}

/// The time without echo.
struct Silence<'a>(&'a Prompt);

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let Prompt { tty, original, .. } = self.0;
        // Fails if the terminal has gone.
        let _ = termios::tcsetattr(tty, SetArg::TCSANOW, original);
    }
}
