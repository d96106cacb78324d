//! The user's terminal: raw while the guest has it, and restored on every exit. A guard process
//! restores it even when bivouac is killed by SIGKILL. Knows nothing of guests.

#![allow(clippy::disallowed_methods)]

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::sys::termios::{self, FlushArg, SetArg, Termios};
use nix::unistd::{Pid, getpgrp};

use super::terminal_filter;
use crate::sys;

/// How long a terminal may take to answer at the end.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);

/// A terminal on standard input and output, with its settings as they were found.
#[derive(Debug)]
pub struct Terminal {
    original: Termios,
    raw: Termios,
    guard: Guard,
    is_raw: bool,
}

impl Terminal {
    pub fn is_there() -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// The user's terminal, if standard input and output are one and in the foreground. Changes
    /// nothing yet. Forks the guard, so call it before any thread is started.
    pub fn open() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !Self::is_there() || !in_foreground(stdin.as_fd()) {
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

    /// From here on every key goes to the guest.
    pub fn make_raw(&mut self) -> io::Result<()> {
        // Here and below not TCSADRAIN: it blocks while the terminal is stopped.
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.raw)?;
        self.is_raw = true;
        Ok(())
    }

    /// [`Terminal::restore`] at the end. What the terminal still answers to the guest's questions, and
    /// what was typed meanwhile, does not reach the shell.
    pub fn give_back(&mut self) -> bool {
        if self.is_raw && reset(io::stdout().as_fd()) {
            ANSWERED.store(false, Ordering::Relaxed);
            let _ = nix::unistd::write(io::stdout(), terminal_filter::ASK);
            await_answer();
            // Not TCSAFLUSH, which waits for the output, too.
            let _ = termios::tcflush(io::stdin(), FlushArg::TCIFLUSH);
        }
        self.restore()
    }

    /// Restores the settings if they were changed. Returns whether the terminal takes output: on one
    /// that is stopped, or whose connection hangs, a write would block.
    pub fn restore(&mut self) -> bool {
        if !std::mem::take(&mut self.is_raw) {
            return true;
        }
        // Fails if the terminal has gone.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.original);
        reset(io::stdout().as_fd())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
        self.guard.stand_down();
    }
}

/// Whether this process is in the foreground. In the background the settings are those of the shell's
/// line editor and must not be saved as the ones to restore. So it stops until `fg`, as any program
/// that reads from its terminal does. If it is not stopped, nothing can bring it to the foreground.
fn in_foreground(tty: BorrowedFd<'_>) -> bool {
    let background = || nix::unistd::tcgetpgrp(tty).is_ok_and(|group| group != getpgrp());
    // `bg` continues without giving the terminal.
    let mut tries = 0..10;
    while background() && tries.next().is_some() {
        let _ = killpg(getpgrp(), Signal::SIGTTIN);
    }
    !background()
}

/// Whether the terminal has answered the last question.
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// Looks for the answer in what was read from the terminal.
pub fn look_for_answer(bytes: &[u8]) {
    let answer = terminal_filter::ANSWER;
    if bytes.windows(answer.len()).any(|at| at == answer) {
        ANSWERED.store(true, Ordering::Relaxed);
    }
}

/// Waits until the terminal has answered, no longer than a distant one needs.
fn await_answer() {
    // A description of its own, because the thread that reads standard input blocks.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let Ok(tty) = nix::fcntl::open("/dev/tty", flags, Mode::empty()) else {
        return;
    };
    let mut buffer = [0; 4096];
    let deadline = Instant::now() + ANSWER_LIMIT;
    while Instant::now() < deadline && !ANSWERED.load(Ordering::Relaxed) {
        // That thread may get it as well.
        let mut asked = [PollFd::new(tty.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut asked, 5_u8);
        if let Ok(n) = nix::unistd::read(&tty, &mut buffer) {
            look_for_answer(&buffer[..n]);
        }
    }
}

/// Undoes what a guest may have done to the terminal besides its settings. Waits no longer than a
/// terminal that is being read needs.
fn reset(tty: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(tty, PollFlags::POLLOUT)];
    matches!(poll(&mut asked, 200_u8), Ok(1..))
        && nix::unistd::write(tty, &terminal_filter::restore()).is_ok()
}

/// A process that waits for the end of this one, and then restores the terminal unless it was told
/// not to.
#[derive(Debug)]
pub(super) struct Guard {
    leash: io::PipeWriter,
    pid: Pid,
}

impl Guard {
    pub(super) fn start(tty: OwnedFd, original: Termios, raw: Termios) -> io::Result<Self> {
        let (watch, leash) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let (watch, leash) = (io::PipeReader::from(watch), io::PipeWriter::from(leash));
        let pid = sys::fork_guard([watch.as_fd(), tty.as_fd()], || {
            watch_over(&watch, &tty, &original, &raw);
        })?;
        Ok(Self { leash, pid })
    }

    /// Lets the guard exit without touching the terminal.
    pub(super) fn stand_down(&mut self) {
        let _ = self.leash.write_all(b"q");
        let _ = nix::sys::wait::waitpid(self.pid, None);
    }
}

fn watch_over(mut watch: &io::PipeReader, tty: &OwnedFd, original: &Termios, raw: &Termios) {
    let mut word = [0];
    let told = matches!(watch.read(&mut word), Ok(1));
    // Only if the settings are still ours: a shell may have changed them meanwhile.
    if !told && termios::tcgetattr(tty).is_ok_and(|now| now == *raw) {
        let _ = termios::tcsetattr(tty, SetArg::TCSANOW, original);
        reset(tty.as_fd());
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Pass(Vec<u8>),
    /// Ctrl-A X: quit.
    Leave,
    /// Ctrl-A H: print [`HELP`].
    Help,
    /// Ctrl-A K: keep the disks when the machine ends.
    Keep,
    /// Ctrl-A S: save the machine under a name.
    Save,
    /// Ctrl-A Z: stop bivouac and the guest, as Ctrl-Z would.
    Suspend,
}

pub const HELP: &str = "\
Ctrl-A X  end the machine and leave
Ctrl-A K  make an image of what the guest has written, when the machine ends
Ctrl-A S  save the machine as it is, under a name, and go on
Ctrl-A Z  stop the machine and go back to the shell (fg continues it)
Ctrl-A A  send Ctrl-A to the guest
Ctrl-A H  this help";

#[derive(Debug, Default)]
pub struct Escapes {
    pending: bool,
}

const CTRL_A: u8 = 0x01;

impl Escapes {
    /// The keys in `typed`, in order.
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
                b'k' | b'K' => Key::Keep,
                b's' | b'S' => Key::Save,
                b'z' | b'Z' => Key::Suspend,
                b'a' | b'A' | CTRL_A => {
                    pass.push(CTRL_A);
                    continue;
                }
                // Unknown: both go to the guest.
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
        assert_eq!(escapes.take(b"\x01k\x01S"), [Key::Keep, Key::Save]);
        assert_eq!(escapes.take(b"\x01q"), [pass(b"\x01q")]);
    }

    #[test]
    fn a_sequence_may_come_in_two_pieces() {
        let mut escapes = Escapes::default();
        assert_eq!(escapes.take(b"\x01"), []);
        assert_eq!(escapes.take(b"X"), [Key::Leave]);
    }
}
