//! Standard output for what comes piece by piece: it may be slow, or a terminal, or gone.
//!
//! A thread writes, so that signals, time-outs and the machine's end are heeded while a pager
//! stands still. What a guest says never reaches a terminal raw: there every control character
//! but line feed and tab is escaped. A pipe or a file gets every byte as it is.

use std::io;

use anyhow::Context;
use tokio::sync::{Mutex, mpsc};

use super::watch::Watch;
use super::{Failure, inside};
use crate::exit::Status;
use crate::machine::phases::Phases;
use crate::machine::stdio::{self, Written};
use crate::text::escape::Escaper;

/// Where a command's results go.
#[derive(Debug)]
pub struct Results {
    sender: mpsc::Sender<Vec<u8>>,
    written: Written,
    pending: Vec<u8>,
    escaper: Option<Escaper>,
    /// Nothing is written before all of it is known to be whole.
    held: bool,
    /// Something may have been written.
    told: bool,
    /// Where the first of the results is to be noted.
    phases: Option<Phases>,
}

/// Nothing more can be written: the reader has gone, or there is no room. [`Results::finish`]
/// says which.
#[derive(Debug)]
pub struct Gone;

impl From<Gone> for Failure {
    fn from(_: Gone) -> Self {
        anyhow::anyhow!("standard output is closed").into()
    }
}

/// How much is collected before it is written.
const CHUNK: usize = 64 << 10;
/// How much is held back at most, of an image that somebody else writes to.
const HELD: usize = 16 << 20;

/// Runs a command that writes its results piece by piece, to its end. Must be called on the main
/// thread, before any other is started.
///
/// # Errors
/// The work's own, or the results cannot be written.
pub fn run(
    work: impl AsyncFnOnce(&Mutex<Results>) -> Result<Status, Failure>,
) -> Result<Status, Failure> {
    inside::block_on(async {
        // Before there is a thread, which would inherit what is blocked.
        let mut watch = Watch::new(None)?;
        let results = Mutex::new(Results::open()?);
        let done = work(&results).await;
        // A pager may stand still for as long as it likes, and Ctrl-C must end us all the same.
        match watch.before(results.into_inner().finish()).await {
            Ok(Ok(Status::Success)) => done,
            Ok(written) => written,
            Err(end) => Ok(end.status()),
        }
    })
}

impl Results {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn open() -> Result<Self, Failure> {
        let (sender, written) = stdio::output().context("starting a thread for the output")?;
        Ok(Self::to(sender, written, stdio::output_is_terminal()))
    }

    /// Results that go elsewhere: to whoever takes what is sent, and tells when it is written.
    pub fn to(sender: mpsc::Sender<Vec<u8>>, written: Written, is_terminal: bool) -> Self {
        Self {
            sender,
            written,
            pending: Vec::new(),
            escaper: is_terminal.then(Escaper::default),
            held: false,
            told: false,
            phases: None,
        }
    }

    /// Begins anew: what was held back of an earlier try is forgotten. While another process
    /// writes to the image everything is held back, as far as it fits, so that it can be.
    ///
    /// # Errors
    /// Something was written already.
    pub fn begin(&mut self, in_use: bool) -> Result<(), Failure> {
        if self.told {
            let error = anyhow::anyhow!(
                "the image changed while it was read, and some was written already"
            );
            return Err(Failure::with_mend(
                error,
                "do it again, or copy the image first",
            ));
        }
        self.pending.clear();
        if let Some(escaper) = &mut self.escaper {
            *escaper = Escaper::default();
        }
        self.held = in_use;
        Ok(())
    }

    /// The first of the results that come now is noted in `phases`.
    pub fn mark(&mut self, phases: &Phases) {
        self.phases = Some(phases.clone());
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
        if let Some(phases) = self.phases.take_if(|_| !bytes.is_empty()) {
            phases.mark_first("first-output");
        }
        match &mut self.escaper {
            Some(escaper) => escaper.take(bytes, &mut self.pending),
            None => self.pending.extend_from_slice(bytes),
        }
        let enough = if self.held { HELD } else { CHUNK };
        match self.pending.len() >= enough {
            true => self.write().await,
            false => Ok(()),
        }
    }

    /// Writes what there is: it is whole, and what follows has nothing to do with it.
    ///
    /// # Errors
    /// As for `put`.
    pub async fn keep(&mut self) -> Result<(), Gone> {
        if let Some(escaper) = &mut self.escaper {
            escaper.rest(&mut self.pending);
        }
        self.write().await?;
        (self.held, self.told) = (false, false);
        Ok(())
    }

    /// Lets go of what was collected, unless it is held back.
    ///
    /// # Errors
    /// As for `put`.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        match self.held {
            true => Ok(()),
            false => self.write().await,
        }
    }

    async fn write(&mut self) -> Result<(), Gone> {
        if self.pending.is_empty() {
            return Ok(());
        }
        (self.held, self.told) = (false, true);
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
        let _ = self.write().await;
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
