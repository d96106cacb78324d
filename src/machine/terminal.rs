//! The user's terminal: raw while the guest has it, and restored on every way out, even when
//! bivouac is killed with SIGKILL: a guard process waits for our end. Knows nothing of guests.

#![allow(clippy::disallowed_methods)]

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::termios::{self, SetArg, Termios};
use nix::unistd::{Pid, getpgrp};

use super::scrub::GIVE_BACK;
use crate::sys;

/// A terminal on standard input and output, with its settings as they were found.
#[derive(Debug)]
pub struct Terminal {
    original: Termios,
    raw: Termios,
    guard: Guard,
    is_raw: bool,
}

impl Terminal {
    /// Whether standard input and output both are a terminal.
    pub fn is_there() -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// The user's terminal, where standard input and output both are one; nothing changes
    /// yet. Forks the guard, so call it before any thread is started.
    pub fn open() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !Self::is_there() {
            return Ok(None);
        }
        if !in_foreground(stdin.as_fd()) {
            return Ok(None);
        }
        let original = termios::tcgetattr(&stdin)?;
        let mut raw = original.clone();
        termios::cfmakeraw(&mut raw);
        let tty = stdin.as_fd().try_clone_to_owned()?;
        let guard = Guard::start(tty, original.clone(), raw.clone())?;
        Ok(Some(Self {
            original,
            raw,
            guard,
            is_raw: false,
        }))
    }

    /// Every key goes to the guest from here on.
    pub fn make_raw(&mut self) -> io::Result<()> {
        // Not TCSADRAIN, here as below: it waits for ever where the terminal is stopped.
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.raw)?;
        self.is_raw = true;
        Ok(())
    }

    /// As it was found. Does nothing where it is so already. Whether the terminal takes output;
    /// one that is stopped, or whose connection hangs, would make a write wait for ever.
    pub fn restore(&mut self) -> bool {
        if self.is_raw {
            // Nothing can be done where the terminal has gone.
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.original);
            self.is_raw = false;
            return give_back(io::stdout().as_fd());
        }
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
        self.guard.stand_down();
    }
}

/// Whether the terminal is ours to use. In the background it is not: the settings there are those
/// of the shell's line editor, and must not be taken for the ones to give back. So we stop, as
/// any program that reads from its terminal, until `fg`. Where nothing stops us, nobody could
/// ever bring us to the foreground.
fn in_foreground(tty: BorrowedFd<'_>) -> bool {
    let background = || nix::unistd::tcgetpgrp(tty).is_ok_and(|group| group != getpgrp());
    // `bg` continues without giving the terminal.
    let mut tries = 0..10;
    while background() && tries.next().is_some() {
        let _ = killpg(getpgrp(), Signal::SIGTTIN);
    }
    !background()
}

/// What a guest may have done to the terminal besides its settings is undone, unless that would
/// have to wait for longer than a terminal takes that is being read.
fn give_back(tty: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(tty, PollFlags::POLLOUT)];
    matches!(poll(&mut asked, 200_u8), Ok(1..)) && nix::unistd::write(tty, GIVE_BACK).is_ok()
}

/// A process that does nothing but wait for the end of ours. If that comes without a word,
/// it gives the terminal its settings back. It never outlives us by more than that.
#[derive(Debug)]
struct Guard {
    leash: io::PipeWriter,
    pid: Pid,
}

impl Guard {
    fn start(tty: OwnedFd, original: Termios, raw: Termios) -> io::Result<Self> {
        let (watch, leash) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let (watch, leash) = (io::PipeReader::from(watch), io::PipeWriter::from(leash));
        let pid = sys::fork_and_run(|| watch_over(watch, tty, &original, &raw))?;
        Ok(Self { leash, pid })
    }

    /// The terminal is in order: end without touching it.
    fn stand_down(&mut self) {
        let _ = self.leash.write_all(b"q");
        let _ = nix::sys::wait::waitpid(self.pid, None);
    }
}

/// The guard's whole life.
fn watch_over(mut watch: io::PipeReader, tty: OwnedFd, original: &Termios, raw: &Termios) {
    // Out of the foreground group: neither Ctrl-C nor a stop of the job reaches the guard,
    // and the terminal is not its own, so that changing it cannot stop it (SIGTTOU).
    let _ = nix::unistd::setsid();
    sys::keep_only_open([watch.as_fd(), tty.as_fd()]);
    let mut word = [0];
    let told = matches!(watch.read(&mut word), Ok(1));
    if told {
        return;
    }
    // Only where it still is as we left it: a shell may have taken the terminal meanwhile.
    if termios::tcgetattr(&tty).is_ok_and(|now| now == *raw) {
        let _ = termios::tcsetattr(&tty, SetArg::TCSANOW, original);
        give_back(tty.as_fd());
    }
}

/// What a key sequence asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Bytes for the guest.
    Pass(Vec<u8>),
    /// Ctrl-A X: end the machine.
    Leave,
    /// Ctrl-A H: say what the keys are.
    Help,
    /// Ctrl-A Z: stop bivouac and the guest, as Ctrl-Z would.
    Suspend,
}

/// What Ctrl-A H prints.
pub const HELP: &str = "\
Ctrl-A X  end the machine and leave
Ctrl-A Z  stop the machine and go back to the shell (fg continues it)
Ctrl-A A  send Ctrl-A to the guest
Ctrl-A H  this help";

/// Finds the Ctrl-A sequences in what is typed.
#[derive(Debug, Default)]
pub struct Escapes {
    pending: bool,
}

const CTRL_A: u8 = 0x01;

impl Escapes {
    /// What `typed` means, in order.
    pub fn take(&mut self, typed: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut pass = Vec::new();
        for &byte in typed {
            if !std::mem::take(&mut self.pending) {
                if byte == CTRL_A {
                    self.pending = true;
                } else {
                    pass.push(byte);
                }
                continue;
            }
            let key = match byte {
                b'x' | b'X' => Key::Leave,
                b'h' | b'H' | b'?' => Key::Help,
                b'z' | b'Z' => Key::Suspend,
                b'a' | b'A' | CTRL_A => {
                    pass.push(CTRL_A);
                    continue;
                }
                // Not ours: the guest gets both, as if we were not here.
                other => {
                    pass.extend([CTRL_A, other]);
                    continue;
                }
            };
            if !pass.is_empty() {
                keys.push(Key::Pass(std::mem::take(&mut pass)));
            }
            keys.push(key);
        }
        if !pass.is_empty() {
            keys.push(Key::Pass(pass));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(bytes: &[u8]) -> Key {
        Key::Pass(bytes.to_vec())
    }

    #[test]
    fn ctrl_a_sequences_are_found_and_all_else_passes() {
        let mut escapes = Escapes::default();
        assert_eq!(escapes.take(b"ls\r"), [pass(b"ls\r")]);
        assert_eq!(
            escapes.take(b"a\x01xb"),
            [pass(b"a"), Key::Leave, pass(b"b")]
        );
        assert_eq!(escapes.take(b"\x01a\x01\x01"), [pass(b"\x01\x01")]);
        assert_eq!(escapes.take(b"\x01h\x01z"), [Key::Help, Key::Suspend]);
        assert_eq!(escapes.take(b"\x01q"), [pass(b"\x01q")]);
    }

    #[test]
    fn a_sequence_may_come_in_two_pieces() {
        let mut escapes = Escapes::default();
        assert_eq!(escapes.take(b"\x01"), []);
        assert_eq!(escapes.take(b"X"), [Key::Leave]);
    }
}
