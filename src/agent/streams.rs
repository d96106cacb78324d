//! Streams as descriptors: what the host sends goes into one, what comes out of one goes to
//! the host, neither faster than the slower side takes it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::port::{Port, is_transient};
use crate::guest::wire::{MAX_DATA, ReceiveWindow, RemoteError, SendWindow, StreamId, WireError};

/// How long a terminal may be silent after its command ended before its stream ends: what was
/// written last reaches our end only after the kernel's own work queue.
const SILENCE: Duration = Duration::from_millis(100);

/// The control character that a terminal takes for end-of-file (VEOF).
const END_OF_FILE: u8 = 4;

/// From the host to a process.
#[derive(Debug)]
pub struct Input {
    /// The request whose process reads it.
    pub task: u64,
    /// Whether the request was answered, so that the stream exists.
    pub open: bool,
    /// Gone once the process reads no more.
    pub file: Option<File>,
    terminal: bool,
    buffer: VecDeque<u8>,
    window: ReceiveWindow,
    ending: bool,
}

impl Input {
    /// Into `file`.
    pub fn new(task: u64, file: File, terminal: bool) -> Self {
        Self {
            task,
            open: false,
            file: Some(file),
            terminal,
            buffer: VecDeque::new(),
            window: ReceiveWindow::default(),
            ending: false,
        }
    }

    /// Takes data of the host's.
    ///
    /// # Errors
    /// More than was credited, or after the end.
    pub fn take(&mut self, id: StreamId, bytes: &[u8]) -> Result<(), WireError> {
        if !self.open || self.ending {
            return Err(WireError::NotOpen {
                kind: 3,
                stream: id,
            });
        }
        self.window.received(id, bytes.len())?;
        if self.file.is_some() {
            self.buffer.extend(bytes);
        }
        Ok(())
    }

    /// Notes the end-of-file.
    pub fn finish(&mut self) {
        if self.terminal && self.file.is_some() && !self.ending {
            self.buffer.push_back(END_OF_FILE);
        }
        self.ending = true;
    }

    /// Whether something waits to be written.
    pub fn has_data(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether poll(2) tells when its reader is gone, with nothing to write. A terminal's
    /// hang-up would be told over and over.
    pub fn is_watched(&self) -> bool {
        !self.terminal || self.has_data()
    }

    /// Whether it is over: the host ended it and everything is written.
    pub fn is_over(&self) -> bool {
        self.ending && self.buffer.is_empty()
    }

    /// Writes as much as is taken now, and credits what was written.
    pub fn pump(&mut self, id: StreamId, port: &mut Port) {
        while let (Some(mut file), false) = (self.file.as_ref(), self.buffer.is_empty()) {
            let (front, _) = self.buffer.as_slices();
            match file.write(front) {
                Ok(n) => {
                    self.buffer.drain(..n);
                    if let Some(credit) = self.window.read(n).filter(|_| !self.ending) {
                        port.credit(id, credit);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_transient(&error) => {}
                Err(_) => self.close(id, port),
            }
        }
    }

    /// The process reads no more: tells the host, once, and drops what was for it.
    pub fn close(&mut self, id: StreamId, port: &mut Port) {
        if self.file.take().is_some() && !self.ending {
            port.stop(id);
        }
        self.buffer = VecDeque::new();
    }
}

/// From a process to the host.
#[derive(Debug)]
pub struct Output {
    /// The request whose process writes it.
    pub task: u64,
    /// Whether the request was answered, so that the stream exists.
    pub open: bool,
    /// Where it comes from.
    pub file: File,
    /// What may be sent.
    pub window: SendWindow,
    /// Its end is not its descriptor's, but waits for the verdict of the job.
    pub is_job: bool,
    terminal: bool,
    /// Since when the process is gone or, later, the terminal silent.
    ended: Option<Instant>,
    /// The descriptor is at its end; a job's verdict may be missing yet.
    pub drained: bool,
}

impl Output {
    /// Out of `file`.
    pub fn new(task: u64, file: File, terminal: bool, is_job: bool) -> Self {
        Self {
            task,
            open: false,
            file,
            window: SendWindow::default(),
            is_job,
            terminal,
            ended: None,
            drained: false,
        }
    }

    /// Whether it should be read now.
    pub fn is_wanted(&self) -> bool {
        self.open && !self.drained && self.window.left() > 0
    }

    /// The command has ended. What is in the pipe still goes out; what others who hold it may
    /// write later does not.
    pub fn command_ended(&mut self) {
        if !self.is_job {
            self.ended = Some(Instant::now());
        }
    }

    /// When to look again though poll(2) is silent.
    pub fn deadline(&self) -> Option<Instant> {
        let since = self.ended.filter(|_| self.is_wanted())?;
        Some(
            since
                + if self.terminal {
                    SILENCE
                } else {
                    Duration::ZERO
                },
        )
    }

    /// Reads once and sends what came.
    pub fn pump(&mut self, id: StreamId, port: &mut Port, scratch: &mut [u8]) {
        let most = self.window.left().min(MAX_DATA).min(scratch.len());
        match self.file.read(&mut scratch[..most]) {
            Ok(0) => self.drained = true,
            Ok(n) => {
                self.window.sent(n);
                port.data(id, &scratch[..n]);
                self.ended = self.ended.map(|_| Instant::now());
            }
            Err(error) if is_transient(&error) => {
                let over = self.deadline().is_some_and(|end| end <= Instant::now());
                self.drained |= over && error.kind() == io::ErrorKind::WouldBlock;
            }
            // A terminal whose other end is closed says EIO.
            Err(_) => self.drained = true,
        }
    }
}

/// What a job says in the end: how much it did.
pub type Verdict = Result<u64, RemoteError>;
