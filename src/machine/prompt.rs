//! Asks for a passphrase on the user's terminal, without echo. The terminal is restored whatever happens.

#![allow(clippy::disallowed_methods)]

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::libc;
use nix::sys::termios::{self, LocalFlags, SetArg, SpecialCharacterIndices, Termios};

use super::terminal::Guard;

/// The longest passphrase, in bytes: what a terminal takes as one line.
const LONGEST: usize = 4096;
/// How often to look for what was typed.
const TICK: Duration = Duration::from_millis(20);

/// Whether there is somebody to ask.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal()
}

/// A line that is typed after `question`, without its end. `None` if the input ended. If this future is
/// dropped, the terminal is as before.
pub(crate) async fn ask(question: &str) -> io::Result<Option<Vec<u8>>> {
    // A description of its own, so that standard input is not made non-blocking for others.
    let tty = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open("/dev/tty")?;
    let silence = Silence::begin(&tty)?;
    write(&tty, question);
    let line = read_line(&tty).await;
    // The end of the line was not echoed.
    write(&tty, "\r\n");
    drop(silence);
    line
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

/// A terminal without echo, until it is dropped.
struct Silence<'a> {
    tty: &'a File,
    original: Termios,
    guard: Option<Guard>,
}

impl<'a> Silence<'a> {
    fn begin(tty: &'a File) -> io::Result<Self> {
        let original = termios::tcgetattr(tty)?;
        let mut quiet = original.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        quiet
            .local_flags
            .insert(LocalFlags::ICANON | LocalFlags::ISIG);
        // A shell would not take the echo away again when a stopped program goes on.
        quiet.control_chars[SpecialCharacterIndices::VSUSP as usize] = 0;
        // There can be none if this process has several threads; then only a SIGKILL goes unnoticed.
        let guard = tty.as_fd().try_clone_to_owned().and_then(|tty| {
            let (original, quiet) = (original.clone(), quiet.clone());
            Guard::start(tty, original, quiet)
        });
        let silence = Self {
            tty,
            original,
            guard: guard.ok(),
        };
        termios::tcsetattr(tty, SetArg::TCSAFLUSH, &quiet)?;
        Ok(silence)
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // Fails if the terminal has gone.
        let _ = termios::tcsetattr(self.tty, SetArg::TCSANOW, &self.original);
        if let Some(guard) = &mut self.guard {
            guard.stand_down();
        }
    }
}
