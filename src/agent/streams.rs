//! Streams between the host and the descriptors of processes, with flow control in both
//! directions.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::port::{Port, is_transient};
use crate::protocol::{ErrorStage, ReceiveWindow, RemoteError, SendWindow, StreamId, WireError};

/// How long a terminal must be silent after its command ended until its stream ends: the kernel
/// delivers the last output asynchronously.
const SILENCE: Duration = Duration::from_millis(100);

/// The control character for end-of-file (VEOF).
const END_OF_FILE: u8 = 4;

/// What direct reads are of a multiple of, and begin at, in bytes.
const BLOCK: usize = 4096;

/// The least room in a window for which it is worth to read a file directly. A reader that has read all has
/// more than this.
const DIRECT: usize = 64 << 10;

/// Whether a file is read without the kernel's cache (O_DIRECT), to where the host reads it. That saves the copy,
/// and the kernel's work for each page of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Direct {
    #[default]
    NotTried,
    Used,
    NotUsed,
}

/// Begins or ends to read a file directly.
pub(super) fn direct(file: &File, wanted: bool) -> Direct {
    let set = || {
        let mut flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
        flags.set(OFlag::O_DIRECT, wanted);
        fcntl(file, FcntlArg::F_SETFL(flags))
    };
    match set() {
        Ok(_) if wanted => Direct::Used,
        _ => Direct::NotUsed,
    }
}

/// A stream from the host to a process.
#[derive(Default)]
pub(crate) struct Input {
    /// The request whose process reads it.
    pub(crate) task: u64,
    /// Whether the request was answered, so that the stream exists.
    pub(crate) open: bool,
    /// `None` once the process no longer reads.
    pub(crate) file: Option<File>,
    terminal: bool,
    pub(crate) buffer: VecDeque<u8>,
    window: ReceiveWindow,
    ending: bool,
}

impl Input {
    pub(crate) fn new(task: u64, file: File, terminal: bool) -> Self {
        Self {
            task,
            file: Some(file),
            terminal,
            ..Self::default()
        }
    }

    /// Accepts data from the host. Fails if it is more than was credited, or after the end.
    pub(crate) fn accept(&mut self, id: StreamId, bytes: &[u8]) -> Result<(), WireError> {
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

    pub(crate) fn finish(&mut self) {
        if self.terminal && self.file.is_some() && !self.ending {
            self.buffer.push_back(END_OF_FILE);
        }
        self.ending = true;
    }

    pub(crate) fn has_data(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether to poll it even without data, to notice that the reader is gone. A terminal would
    /// report its hang-up over and over.
    pub(crate) fn is_watched(&self) -> bool {
        !self.terminal || self.has_data()
    }

    /// Whether the host ended it and everything is written.
    pub(crate) fn is_over(&self) -> bool {
        self.ending && self.buffer.is_empty()
    }

    /// Writes as much as the process accepts now, and credits it.
    pub(crate) fn pump(&mut self, id: StreamId, port: &mut Port) {
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

    /// The process no longer reads: tells the host, once, and drops the data.
    pub(crate) fn close(&mut self, id: StreamId, port: &mut Port) {
        if self.file.take().is_some() && !self.ending {
            port.stop(id);
        }
        self.buffer = VecDeque::new();
    }
}

/// What the agent makes itself, in parts.
pub(crate) trait Source {
    /// Writes the next part. Returns whether there was one.
    fn next_part(&mut self, file: &File) -> Result<bool, RemoteError>;
}

/// A stream from a process, of a file, or of a source, to the host.
pub(crate) struct Output {
    pub(crate) task: u64,
    pub(crate) open: bool,
    pub(crate) file: File,
    pub(crate) window: SendWindow,
    /// It is of a worker: at the end of the descriptor the result is still to come.
    pub(crate) is_worker: bool,
    terminal: bool,
    /// It is of a file, which ends after as many bytes.
    left: Option<u64>,
    /// What makes the next part when the file is read.
    source: Option<Box<dyn Source>>,
    direct: Direct,
    /// Why the file could not be read to its end.
    pub(crate) error: Option<RemoteError>,
    /// When the process ended or, later, when its last output arrived.
    ended: Option<Instant>,
    pub(crate) drained: bool,
}

impl Output {
    pub(crate) fn new(task: u64, file: File, terminal: bool, is_worker: bool) -> Self {
        Self {
            task,
            open: false,
            file,
            window: SendWindow::default(),
            is_worker,
            terminal,
            left: None,
            source: None,
            direct: Direct::default(),
            error: None,
            ended: None,
            drained: false,
        }
    }

    /// Of at most `left` bytes of a file, which is always ready.
    pub(crate) fn of_file(task: u64, file: File, left: u64) -> Self {
        Self {
            open: true,
            left: Some(left),
            ..Self::new(task, file, false, false)
        }
    }

    /// Of what `source` makes, each part in `file`, which is always ready.
    pub(crate) fn of_source(task: u64, file: File, source: Box<dyn Source>) -> Self {
        Self {
            open: true,
            source: Some(source),
            ..Self::new(task, file, false, false)
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        let least = match self.direct {
            Direct::Used => DIRECT,
            _ => 1,
        };
        self.open && !self.drained && self.window.left() >= least
    }

    /// The command ended. What is in the pipe is still sent, but not what processes that still
    /// hold it write later.
    pub(crate) fn command_ended(&mut self) {
        if !self.is_worker {
            self.ended = Some(Instant::now());
        }
    }

    /// When to read even if poll(2) reports nothing.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let since = self.ended.filter(|_| self.is_wanted())?;
        let silence = match self.terminal {
            true => SILENCE,
            false => Duration::ZERO,
        };
        Some(since + silence)
    }

    pub(crate) fn pump(&mut self, id: StreamId, port: &mut Port) {
        // Another stream may have taken it.
        if !port.has_room_for_data() {
            return;
        }
        if self.direct == Direct::NotTried && self.left.is_some() && port.places_data() {
            self.direct = direct(&self.file, true);
        }
        let room = self.window.left();
        let left = self
            .left
            .map_or(room, |left| usize::try_from(left).unwrap_or(room));
        let wanted = room.min(left);
        let most = match self.direct {
            // In whole blocks, of which the last may be too long.
            Direct::Used => wanted.next_multiple_of(BLOCK).min(room / BLOCK * BLOCK),
            _ => wanted,
        };
        let read = port.data_of(id, most, |buffer| {
            let read = (&self.file).read(buffer);
            read.map(|read| read.min(wanted))
        });
        match read {
            Ok(0) => match self.next_part() {
                Ok(true) => self.pump(id, port),
                Ok(false) => self.drained = true,
                Err(error) => {
                    self.error = Some(error);
                    self.drained = true;
                }
            },
            Ok(n) => {
                self.left = self.left.map(|left| left - n as u64);
                self.window.sent(n);
                self.ended = self.ended.map(|_| Instant::now());
            }
            Err(error) if is_transient(&error) => {
                let over = self.deadline().is_some_and(|end| end <= Instant::now());
                self.drained |= over && error.kind() == io::ErrorKind::WouldBlock;
            }
            // Not every filesystem can, nor for every file.
            Err(_) if self.direct == Direct::Used => self.direct = direct(&self.file, false),
            Err(error) if self.left.is_some() => {
                self.error = Some(RemoteError::of(ErrorStage::File, "reading", error));
                self.drained = true;
            }
            // EIO of a terminal means that its other end is closed.
            Err(_) => self.drained = true,
        }
    }

    fn next_part(&mut self) -> Result<bool, RemoteError> {
        let Some(source) = &mut self.source else {
            return Ok(false);
        };
        let failed = |error| RemoteError::of(ErrorStage::Process, "the next part", error);
        let mut file = &self.file;
        let emptied = file.set_len(0).and_then(|()| file.rewind());
        emptied.map_err(failed)?;
        let is_there = source.next_part(file)?;
        file.rewind().map_err(failed)?;
        Ok(is_there)
    }
}
