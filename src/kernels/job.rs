//! Work in a thread of its own, which says what it does and can be told to stop. The main thread shows
//! the one and listens to signals for the other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::anyhow;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::launch::supervisor::Supervisor;
use crate::launch::{Failure, Progress, block_on};

/// What the thread has of it.
#[derive(Debug)]
pub(super) struct Job {
    stop: Arc<AtomicBool>,
    status: UnboundedSender<String>,
}

impl Job {
    /// Does `work` in a thread. If a signal comes, the work is told to stop, and its directories are
    /// removed before this returns. Must be called on the main thread.
    pub(super) fn run<T: Send + 'static>(
        progress: &dyn Progress,
        work: impl FnOnce(&Job) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        block_on(async {
            // First, so that the thread inherits the mask of signals.
            let mut supervisor = Supervisor::new(None)?;
            let stop = Arc::new(AtomicBool::new(false));
            let (status, mut statuses) = unbounded_channel();
            let job = Self {
                stop: stop.clone(),
                status,
            };
            let thread = thread::spawn(move || work(&job));
            let shown = async {
                while let Some(text) = statuses.recv().await {
                    progress.status(&text);
                }
            };
            let ended = supervisor.guard(shown).await;
            stop.store(true, Ordering::Relaxed);
            let done = thread.join();
            progress.clear_status();
            ended?;
            done.map_err(|_| anyhow!("the thread that unpacks kernels panicked"))?
        })
    }

    /// Shows what is being done.
    pub(super) fn status(&self, text: impl Into<String>) {
        // Nobody listens after a signal.
        let _ = self.status.send(text.into());
    }

    /// An error if a signal has come. The user does not see it.
    pub(super) fn go_on(&self) -> io::Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(io::Error::from(io::ErrorKind::Interrupted)),
            false => Ok(()),
        }
    }
}
