//! A QEMU without a machine, and a conversation with it over QMP, line by line, each answer
//! awaited before the next question. For `probe`; a machine's QMP is `machine::qmp`'s alone.

#![allow(clippy::disallowed_methods)]

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};

use crate::sys;

/// From `quit` to the end of the channel: a few milliseconds.
const FAREWELL: Duration = Duration::from_secs(1);
/// A reply grows with QEMU's types: 200 kB today.
const LONGEST_REPLY: usize = 16 << 20;
/// How a run confines QEMU as well.
pub const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Why QEMU did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It could not be started.
    #[error("{} cannot be started", path.display())]
    Start {
        /// The emulator.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It ended, or said something else than QMP; its own last lines.
    #[error("{} does not start: {said}", path.display())]
    Ended {
        /// The emulator.
        path: PathBuf,
        /// What it wrote to standard error, or what went wrong with the conversation.
        said: String,
    },
    /// It said nothing for too long.
    #[error("{} did not answer within {} s", path.display(), waited.as_secs_f32())]
    Silent {
        /// The emulator.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
}

impl ProbeError {
    /// The command or the flag that helps.
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::Ended { said, .. } if said.contains("sandbox") => Some(
                "this QEMU was built without seccomp: name another with --qemu PATH".to_owned(),
            ),
            Self::Start { path, .. } | Self::Ended { path, .. } | Self::Silent { path, .. } => {
                Some(format!("see what `{} --version` says", path.display()))
            }
        }
    }
}

/// A QEMU and our end of its QMP channel. Dropping it kills and reaps.
pub struct Conversation {
    qemu: Child,
    channel: UnixStream,
    received: Vec<u8>,
    deadline: Instant,
}

impl Conversation {
    /// Starts the emulator at `path`; the conversation may last for `patience`.
    ///
    /// # Errors
    /// [`ProbeError::Start`]
    pub fn open(path: &Path, patience: Duration) -> Result<Self, ProbeError> {
        let failed = |source| ProbeError::Start {
            path: path.to_owned(),
            source,
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(path);
        command
            .args([
                "-machine",
                "none",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-S",
            ])
            .args(["-sandbox", SANDBOX])
            // QMP is on standard input, a socket that it also writes to.
            .args([
                "-chardev",
                "socket,id=qmp,fd=0",
                "-mon",
                "chardev=qmp,mode=control",
            ])
            .env("LC_ALL", "C")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        sys::ChildSetup::new(&[], None).apply(&mut command);
        let qemu = command.spawn().map_err(failed)?;
        let deadline = Instant::now() + patience;
        Ok(Self {
            qemu,
            channel: ours,
            received: Vec::new(),
            deadline,
        })
    }

    /// Sends a command and waits for its answer; events that come in between are dropped.
    ///
    /// # Errors
    /// The channel's, TimedOut after the deadline, or QEMU's own answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.channel.write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut reply = self.receive()?;
            if let Some(error) = reply.get("error") {
                return Err(io::Error::other(format!("{command}: {}", error["desc"])));
            }
            if let Some(answer) = reply.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    /// Lets QEMU end by itself, for a wrapper script would not pass our SIGKILL on to it.
    pub fn quit(&mut self) {
        self.deadline = self.deadline.min(Instant::now() + FAREWELL);
        if self.execute("quit", json!({})).is_ok() {
            while self.receive().is_ok() {}
        }
    }

    /// The next line.
    ///
    /// # Errors
    /// The channel's, or TimedOut after the deadline.
    pub fn receive(&mut self) -> io::Result<Value> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(io::Error::other);
            }
            if self.received.len() > LONGEST_REPLY {
                return Err(io::Error::other("a reply of QMP has no end"));
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            self.channel.set_read_timeout(Some(left))?;
            match self.channel.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("it ended without a word")),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Ends QEMU and gives the last lines of what it wrote to standard error. Reads only what
    /// is there: a child of a wrapper script may keep the other end open.
    pub fn last_words(&mut self) -> Option<String> {
        self.end();
        let mut stderr = self.qemu.stderr.take()?;
        fcntl(&stderr, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
        let mut text = vec![0; 1 << 16];
        let count = stderr.read(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text[..count]).into_owned();
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        let last = lines.get(lines.len().saturating_sub(3)..)?;
        (!last.is_empty()).then(|| last.join("; "))
    }

    fn end(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.end();
    }
}
