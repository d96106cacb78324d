//! The host end of the guest's serial port: copies the output to its destinations, keeps the last
//! lines for an error message, and detects a kernel panic, a login prompt, and a boot that does not
//! go on. Knows nothing of QEMU or terminals.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::boot_stop::{BootProgress, BootStop};
use super::console_log::ConsoleLog;
use super::console_text::{Change, ConsoleText};

/// How many lines are kept for an error message.
const TAIL_LINES: usize = 25;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleEvent {
    FirstByte,
    Panic,
    /// A line that ends in `login:`.
    Login,
    /// The console shows that the boot does not go on, or, after that, that it does. Comes again
    /// with everything new that the console shows, if that counts.
    BootStop(Option<&'static BootStop>),
    /// The copy for standard output cannot be written: its reader has gone, or a disk is full.
    OutputClosed,
}

thread_local! {
    /// How many machines are watched, and the latest line on the consoles since the first was.
    static WATCHED: Cell<usize> = const { Cell::new(0) };
    static LINE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// While it is held, the latest line of consoles is kept for [`watched_line`].
#[derive(Debug)]
pub struct Watch(());

impl Watch {
    pub fn begin() -> Self {
        WATCHED.set(WATCHED.get() + 1);
        Self(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.set(WATCHED.get() - 1);
        if WATCHED.get() == 0 {
            LINE.take();
        }
    }
}

/// The latest line on the console of a machine that is watched, without control characters.
pub fn watched_line() -> Option<String> {
    LINE.with_borrow(Clone::clone)
}

/// Where the guest's output goes besides the tail.
#[derive(Debug, Default)]
pub struct Sinks {
    /// Chunks for standard output. The channel is bounded: a slow reader slows the guest down.
    pub output: Option<mpsc::Sender<Vec<u8>>>,
    pub log: Option<ConsoleLog>,
}

/// Copies until the guest's end of the port is closed.
pub async fn pump(
    mut port: OwnedReadHalf,
    mut sinks: Sinks,
    console_events: mpsc::UnboundedSender<ConsoleEvent>,
    tail: std::rc::Rc<std::cell::RefCell<Tail>>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut first = true;
    loop {
        let n = match port.read(&mut buffer).await {
            Ok(0) => break,
            Ok(n) => n,
            // QEMU was killed with our input unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        };
        let bytes = &buffer[..n];
        if std::mem::take(&mut first) {
            let _ = console_events.send(ConsoleEvent::FirstByte);
        }
        if let Some(log) = &mut sinks.log {
            log.write(bytes)?;
        }
        if let Some(output) = &sinks.output
            && output.send(bytes.to_vec()).await.is_err()
        {
            sinks.output = None;
            let _ = console_events.send(ConsoleEvent::OutputClosed);
        }
        for event in tail.borrow_mut().take(bytes) {
            let _ = console_events.send(event);
        }
    }
    sinks.log.as_mut().map_or(Ok(()), ConsoleLog::finish)
}

/// Writes the guest's input from a channel until either side closes.
pub async fn feed(mut port: OwnedWriteHalf, mut input: mpsc::Receiver<Vec<u8>>) {
    use tokio::io::AsyncWriteExt;
    while let Some(bytes) = input.recv().await {
        if port.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // The end of the input does not hang up the guest's line.
    port.forget();
}

#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
    text: ConsoleText,
    boot: BootProgress,
    boot_stop: Option<&'static BootStop>,
    login_seen: bool,
}

impl Tail {
    /// Appends `bytes` and returns what was detected in them.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<ConsoleEvent> {
        let mut seen = Vec::new();
        for &byte in bytes {
            match self.text.take(byte) {
                None => {}
                Some(Change::Cleared) => self.boot.cleared(),
                Some(Change::Line(line)) => {
                    if is_panic(&line) {
                        seen.push(ConsoleEvent::Panic);
                    }
                    self.boot.line(&line);
                    seen.extend(self.login(&line));
                    self.keep(line);
                }
            }
        }
        let unfinished = self.text.unfinished();
        seen.extend(self.login(&unfinished));
        let stop = self.boot.stop(&unfinished);
        let before = std::mem::replace(&mut self.boot_stop, stop);
        let is_known = before == stop && (stop.is_none() || self.boot.has_stopped());
        if !is_known {
            seen.push(ConsoleEvent::BootStop(self.boot_stop));
        }
        seen
    }

    /// Whether this is the first prompt of getty, `NAME login:`.
    fn login(&mut self, line: &str) -> Option<ConsoleEvent> {
        let is_first = !self.login_seen && line.ends_with("login:");
        self.login_seen |= is_first;
        is_first.then_some(ConsoleEvent::Login)
    }

    fn keep(&mut self, line: String) {
        if line.is_empty() {
            return;
        }
        if WATCHED.get() > 0 {
            LINE.replace(Some(line.clone()));
        }
        self.lines.push_back(line);
        if self.lines.len() > TAIL_LINES {
            self.lines.pop_front();
        }
    }

    /// The lines without control characters, safe to print to a terminal.
    pub fn lines(&self) -> Vec<String> {
        let unfinished = Some(self.text.unfinished()).filter(|line| !line.is_empty());
        self.lines.iter().cloned().chain(unfinished).collect()
    }
}

/// `Kernel panic - not syncing` at the beginning of a line, after the kernel's level, time stamp and,
/// with CONFIG_PRINTK_CALLER, thread or CPU (kernel/panic.c, print_prefix). Further on in a line it
/// is quoted text.
fn is_panic(line: &str) -> bool {
    let mut rest = line;
    if let Some((_, after)) = rest
        .strip_prefix('<')
        .and_then(|level| level.split_once('>'))
    {
        rest = after;
    }
    while let Some((stamp, after)) = rest.strip_prefix('[').and_then(|s| s.split_once(']'))
        && stamp
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b' ' | b'.' | b'T' | b'C'))
    {
        rest = after.trim_start();
    }
    rest.starts_with("Kernel panic - not syncing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::console_text::LINE_MAX;
    use proptest::prelude::*;

    #[test]
    fn a_panic_is_seen_at_the_beginning_of_a_line_only() {
        for line in [
            "Kernel panic - not syncing: sysrq triggered crash",
            "[    4.182734] Kernel panic - not syncing: VFS: Unable to mount root fs",
            "<0>[   12.0] Kernel panic - not syncing: Attempted to kill init!",
            "[    4.182734][    T1] Kernel panic - not syncing: VFS: Unable to mount root fs",
        ] {
            assert_eq!(
                Tail::default().take(format!("x\n{line}\r\n").as_bytes()),
                [ConsoleEvent::Panic]
            );
        }
        for line in [
            "$ grep 'Kernel panic - not syncing' log",
            "[info] Kernel panic - not syncing is what to look for",
            "Kernel panics are rare",
        ] {
            assert_eq!(Tail::default().take(format!("{line}\n").as_bytes()), []);
        }
    }

    #[test]
    fn a_login_prompt_is_seen_once_though_it_comes_in_pieces() {
        let mut tail = Tail::default();
        assert_eq!(tail.take(b"\r\ndebian12 lo"), []);
        assert_eq!(tail.take(b"gin: "), [ConsoleEvent::Login]);
        assert_eq!(tail.take(b"\r\ndebian12 login: "), []);
    }

    #[test]
    fn a_boot_that_waits_for_a_person_is_seen_by_its_prompt() {
        for prompt in [
            "(initramfs) ",
            "\x1b[?2004hdracut:/# ",
            "Press Enter for maintenance\r\n(or press Control-D to continue): ",
        ] {
            let mut tail = Tail::default();
            let seen = tail.take(format!("words\r\n{prompt}").as_bytes());
            assert!(
                matches!(seen[..], [ConsoleEvent::BootStop(Some(_))]),
                "{prompt}"
            );
        }
    }

    #[test]
    fn a_menu_that_is_left_is_told_too() {
        let mut tail = Tail::default();
        let shown = tail.take(b"\x1b[2J\x1b[02;24HGNU GRUB  version 2.06\r\n\r\n");
        assert!(matches!(shown[..], [ConsoleEvent::BootStop(Some(_))]));
        let counting = tail.take(b"executed automatically in 5s.");
        assert!(matches!(counting[..], [ConsoleEvent::BootStop(Some(_))]));
        assert_eq!(tail.take(b"\x1b[2J"), [ConsoleEvent::BootStop(None)]);
        assert_eq!(tail.take(b"\r\n"), []);
    }

    #[test]
    fn escape_sequences_do_not_reach_the_error_text() {
        let mut tail = Tail::default();
        tail.take(b"\x1b[2J\x1b[1;31mred\x1b[0m\x07\x1b7 text\t!\r\n");
        assert_eq!(tail.lines(), ["red text !"]);
    }

    proptest! {
        #[test]
        fn the_tail_is_bounded_and_printable_whatever_the_guest_prints(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..40)
        ) {
            let mut tail = Tail::default();
            for chunk in &chunks {
                tail.take(chunk);
            }
            let lines = tail.lines();
            prop_assert!(lines.len() <= TAIL_LINES + 1);
            for line in lines {
                prop_assert!(line.chars().count() <= LINE_MAX);
                prop_assert!(!line.chars().any(char::is_control));
            }
        }
    }
}
