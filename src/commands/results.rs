//! Standard output for what comes piece by piece: it may be slow, or a terminal, or gone.
//!
//! A thread writes, so that signals, time-outs and the machine's end are heeded while a pager
//! stands still. What a guest says never reaches a terminal raw: there every control character
//! but line feed and tab is escaped. A pipe or a file gets every byte as it is.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tokio::sync::mpsc;

use super::Failure;
use crate::exit::Status;
use crate::image::printable::Escaper;
use crate::machine::stdio::{self, Written};

/// Where a command's results go.
#[derive(Debug)]
pub struct Results {
    sender: mpsc::Sender<Vec<u8>>,
    written: Written,
    pending: Vec<u8>,
    escaper: Option<Escaper>,
}

/// Nothing more can be written: the reader has gone, or there is no room. [`Results::finish`]
/// says which.
#[derive(Debug)]
pub struct Gone;

/// How much is collected before it is written.
const CHUNK: usize = 64 << 10;

impl Results {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn open() -> Result<Self, Failure> {
        let (sender, written) = stdio::output().context("starting a thread for the output")?;
        Ok(Self {
            sender,
            written,
            pending: Vec::new(),
            escaper: io::stdout().is_terminal().then(Escaper::default),
        })
    }

    /// Whether a person reads it.
    pub fn is_terminal(&self) -> bool {
        self.escaper.is_some()
    }

    /// Writes bytes, soon.
    ///
    /// # Errors
    /// Nothing more can be written.
    pub async fn put(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        match &mut self.escaper {
            Some(escaper) => escaper.take(bytes, &mut self.pending),
            None => self.pending.extend_from_slice(bytes),
        }
        if self.pending.len() >= CHUNK {
            self.flush().await?;
        }
        Ok(())
    }

    /// Lets go of what was collected.
    ///
    /// # Errors
    /// As for `put`.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.pending);
        self.sender.send(chunk).await.map_err(|_| Gone)
    }

    /// Waits until all is written. A reader that went away ends us as SIGPIPE would.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn finish(mut self) -> Result<Status, Failure> {
        if let Some(escaper) = &mut self.escaper {
            escaper.rest(&mut self.pending);
        }
        // Why it failed is told below.
        let _ = self.flush().await;
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
