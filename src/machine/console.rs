//! The host end of the guest's serial port: copies the output to its destinations, keeps the last
//! lines for an error message, and detects a kernel panic, a login prompt, and a boot that has
//! stopped in a maintenance shell. Knows nothing of QEMU or terminals.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};

use tokio::io::AsyncReadExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// How many lines are kept for an error message.
const TAIL_LINES: usize = 25;
/// Longer lines are cut, in bytes: a guest may never end one.
const LINE_MAX: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleEvent {
    FirstByte,
    Panic,
    /// A line that ends in `login:`.
    Login,
    /// The prompt of a maintenance shell. The text says why the boot stopped.
    Stuck(&'static str),
    /// The copy for standard output cannot be written: its reader has gone, or a disk is full.
    OutputClosed,
}

/// Where the guest's output goes besides the tail.
#[derive(Debug, Default)]
pub struct Sinks {
    /// Chunks for standard output. The channel is bounded: a slow reader slows the guest down.
    pub output: Option<mpsc::Sender<Vec<u8>>>,
    pub log: Option<File>,
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
            Ok(0) => return Ok(()),
            Ok(n) => n,
            // QEMU was killed with our input unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        };
        let bytes = &buffer[..n];
        if std::mem::take(&mut first) {
            let _ = console_events.send(ConsoleEvent::FirstByte);
        }
        if let Some(log) = &mut sinks.log {
            log.write_all(bytes).map_err(|error| {
                io::Error::new(error.kind(), format!("writing --console-log: {error}"))
            })?;
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
    lines: VecDeque<Vec<u8>>,
    current: Vec<u8>,
    login_seen: bool,
    stuck_seen: bool,
}

impl Tail {
    /// Appends `bytes` and returns what was detected in them.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<ConsoleEvent> {
        let mut seen = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                if self.current.len() < LINE_MAX {
                    self.current.push(byte);
                }
                continue;
            }
            if is_panic(&self.current) {
                seen.push(ConsoleEvent::Panic);
            }
            self.lines.push_back(std::mem::take(&mut self.current));
            if self.lines.len() > TAIL_LINES {
                self.lines.pop_front();
            }
        }
        if !self.login_seen && is_login_prompt(&self.current) {
            self.login_seen = true;
            seen.push(ConsoleEvent::Login);
        }
        if !self.stuck_seen
            && let Some(why) = stuck(&self.current)
        {
            self.stuck_seen = true;
            seen.push(ConsoleEvent::Stuck(why));
        }
        seen
    }

    /// The lines without control characters, safe to print to a terminal.
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .iter()
            .chain(std::iter::once(&self.current))
            .map(|line| printable(line))
            .filter(|line| !line.is_empty())
            .collect()
    }
}

/// `Kernel panic - not syncing` at the beginning of a line, after the kernel's level, time stamp and,
/// with CONFIG_PRINTK_CALLER, thread or CPU (kernel/panic.c, print_prefix). Further on in a line it
/// is quoted text.
fn is_panic(line: &[u8]) -> bool {
    let mut rest = line;
    if let Some(after) = rest.strip_prefix(b"<")
        && let Some(end) = after.iter().position(|&b| b == b'>')
    {
        rest = &after[end + 1..];
    }
    while let Some(after) = rest.strip_prefix(b"[")
        && let Some(end) = after.iter().position(|&b| b == b']')
        && after[..end]
            .iter()
            .all(|b| b.is_ascii_digit() || matches!(b, b' ' | b'.' | b'T' | b'C'))
    {
        rest = after[end + 1..].trim_ascii_start();
    }
    rest.starts_with(b"Kernel panic - not syncing")
}

/// getty's prompt, `NAME login:`, at the end of the output.
fn is_login_prompt(line: &[u8]) -> bool {
    line.trim_ascii_end().ends_with(b"login:")
}

/// The complete prompts of maintenance shells: those of initramfs-tools and dracut, and sulogin(8) of
/// util-linux and sysvinit.
const STUCK: [(&str, &str); 5] = [
    ("(initramfs)", "its initramfs stopped, with a shell"),
    ("dracut:/#", "its initramfs stopped, with a shell"),
    ("Give root password for login:", SULOGIN),
    ("(or press Control-D to continue):", SULOGIN),
    ("(or type Control-D to continue):", SULOGIN),
];
const SULOGIN: &str = "its init waits at the console for maintenance";

/// Why the boot stopped, if `line` is one of these prompts: an unfinished line with no other text.
/// It may contain escape sequences.
fn stuck(line: &[u8]) -> Option<&'static str> {
    if line.is_empty() || line.len() > 80 {
        return None;
    }
    let line = printable(line);
    let found = STUCK.iter().find(|(prompt, _)| line.trim() == *prompt);
    found.map(|(_, why)| *why)
}

/// `bytes` without escape sequences and control characters.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // A control sequence ends at its first letter; another escape is one character.
                if chars.next_if_eq(&'[').is_some() {
                    while let Some(c) = chars.next()
                        && !('@'..='~').contains(&c)
                    {}
                } else {
                    chars.next();
                }
            }
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn a_boot_that_waits_for_a_person_is_seen_once_by_its_prompt() {
        for prompt in [
            "(initramfs) ",
            "\x1b[?2004hdracut:/# ",
            "Press Enter for maintenance\r\n(or press Control-D to continue): ",
        ] {
            let mut tail = Tail::default();
            let seen = tail.take(format!("words\r\n{prompt}").as_bytes());
            assert!(matches!(seen[..], [ConsoleEvent::Stuck(_)]), "{prompt}");
            assert_eq!(tail.take(format!("\r\n{prompt}").as_bytes()), []);
        }
        for line in [
            "echo '(initramfs) '",
            "(initramfs) is the prompt of a shell",
            "[   12.0] dracut:/# ",
        ] {
            assert_eq!(Tail::default().take(line.as_bytes()), []);
        }
    }

    #[test]
    fn escape_sequences_do_not_reach_the_error_text() {
        let mut tail = Tail::default();
        tail.take(b"\x1b[2J\x1b[1;31mred\x1b[0m\x07\x1bc text\t!\r\n");
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
