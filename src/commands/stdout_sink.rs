//! Standard output for results that come piece by piece.
//!
//! A thread writes, so that signals, timeouts and the end of the machine are handled while the
//! reader does not read. On a terminal, control characters but line feeds and tabs are escaped:
//! a guest's output never reaches it raw. A pipe or a file gets every byte unchanged.
//!
//! An image that another machine writes to may be read in the middle of a change, and is then read
//! again. So its results are held back until all of them are known to be good
//! ([`StdoutSink::begin`], [`StdoutSink::commit`]).

use std::io;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{Mutex, mpsc};

use crate::exit::Status;
use crate::launch::supervisor::{Stopped, Supervisor};
use crate::launch::{Failure, block_on};
use crate::machine::phases::Phases;
use crate::machine::stdio::{self, FlushHandle, OutputMode};
use crate::session::SessionError;
use crate::text::escape::Escaper;

#[derive(Debug)]
pub struct StdoutSink {
    sender: mpsc::Sender<Vec<u8>>,
    written: FlushHandle,
    pending: Vec<u8>,
    escaper: Option<Escaper>,
    /// Results are held back until they are committed.
    held: bool,
    /// Results were written that were not committed: they cannot be taken back.
    written_early: bool,
    /// Where the time of the first output is recorded.
    phases: Option<Phases>,
}

/// Nothing more can be written: the reader is gone, or the disk is full. [`StdoutSink::finish`]
/// says which.
#[derive(Debug)]
pub struct Closed;

impl From<Closed> for Failure {
    fn from(_: Closed) -> Self {
        anyhow::anyhow!("standard output is closed").into()
    }
}

/// How much is collected before it is written.
const CHUNK: usize = 64 << 10;
/// The most that is held back.
const HELD: usize = 16 << 20;

/// Runs a command that writes to standard output, and waits until all is written. Must be called on
/// the main thread, before any other is started.
pub fn run(
    work: impl AsyncFnOnce(&Mutex<StdoutSink>) -> Result<Status, Failure>,
) -> Result<Status, Failure> {
    block_on(async {
        // Before there is a thread, which would inherit the blocked signals.
        let mut supervisor = Supervisor::new(None)?;
        let results = Mutex::new(StdoutSink::open()?);
        let done = work(&results).await;
        // Ctrl-C must end us even if a pager never reads on.
        match supervisor.guard(results.into_inner().finish()).await {
            Ok(Ok(Status::Success)) => done,
            Ok(written) => written,
            Err(Stopped(end)) => Ok(end.status()),
        }
    })
}

impl StdoutSink {
    pub fn open() -> Result<Self, Failure> {
        let (sender, written) =
            stdio::output(OutputMode::Terminal).context("starting a thread for the output")?;
        Ok(Self::to(sender, written, stdio::output_is_terminal()))
    }

    /// A sink that writes elsewhere: `sender` gets the output, and `written` its result.
    pub fn to(sender: mpsc::Sender<Vec<u8>>, written: FlushHandle, is_terminal: bool) -> Self {
        Self {
            sender,
            written,
            pending: Vec::new(),
            escaper: is_terminal.then(Escaper::default),
            held: false,
            written_early: false,
            phases: None,
        }
    }

    /// Begins an attempt and discards what was held back of an earlier one. If the image is in use,
    /// everything is held back up to a limit. Fails if the earlier attempt was written already.
    pub fn begin(&mut self, in_use: bool) -> Result<(), Failure> {
        if self.written_early {
            let error = anyhow::anyhow!(
                "the image changed while it was read, and part of the output was written already"
            );
            return Err(Failure::with_hint(
                error,
                "try again, or copy the image first",
            ));
        }
        self.pending.clear();
        if let Some(escaper) = &mut self.escaper {
            *escaper = Escaper::default();
        }
        self.held = in_use;
        Ok(())
    }

    /// Records the time of the next output in `phases`.
    pub fn mark(&mut self, phases: &Phases) {
        self.phases = Some(phases.clone());
    }

    pub fn is_terminal(&self) -> bool {
        self.escaper.is_some()
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        if let Some(phases) = self.phases.take_if(|_| !bytes.is_empty()) {
            phases.mark_first("first-output");
        }
        match &mut self.escaper {
            Some(escaper) => escaper.take(bytes, &mut self.pending),
            None => self.pending.extend_from_slice(bytes),
        }
        let enough = if self.held { HELD } else { CHUNK };
        match self.pending.len() >= enough {
            true => self.send().await,
            false => Ok(()),
        }
    }

    /// Writes all of a stream of a session.
    pub async fn copy(&mut self, mut stream: impl AsyncRead + Unpin) -> Result<(), Failure> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = stream.read(&mut buffer).await;
            match read.map_err(SessionError::of_stream)? {
                0 => return Ok(()),
                read => self.write(&buffer[..read]).await?,
            }
        }
    }

    /// Ends an attempt that succeeded: its output is good.
    pub async fn commit(&mut self) -> Result<(), Closed> {
        if let Some(escaper) = &mut self.escaper {
            escaper.rest(&mut self.pending);
        }
        self.send().await?;
        (self.held, self.written_early) = (false, false);
        Ok(())
    }

    /// Writes what was collected, unless it is held back.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        match self.held {
            true => Ok(()),
            false => self.send().await,
        }
    }

    async fn send(&mut self) -> Result<(), Closed> {
        if self.pending.is_empty() {
            return Ok(());
        }
        (self.held, self.written_early) = (false, true);
        let chunk = std::mem::take(&mut self.pending);
        self.sender.send(chunk).await.map_err(|_| Closed)
    }

    /// Waits until all is written. A reader that is gone ends us as SIGPIPE would.
    pub async fn finish(mut self) -> Result<Status, Failure> {
        if let Some(escaper) = &mut self.escaper {
            escaper.rest(&mut self.pending);
        }
        // The thread says why it failed.
        let _ = self.send().await;
        drop(self.sender);
        match self.written.await {
            Ok(Ok(())) => Ok(Status::Success),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(Status::Signalled(nix::libc::SIGPIPE))
            }
            Ok(Err(error)) => Err(anyhow::Error::from(error)
                .context("writing standard output")
                .into()),
            Err(_) => Err(anyhow::anyhow!("the thread that writes standard output ended").into()),
        }
    }
}
