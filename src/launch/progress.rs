//! Progress messages while a machine is started, and what is shown beside them while they last.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use crate::machine::console;

/// Receives what is said while a machine is started; results and errors are returned instead.
pub trait Progress {
    /// One line, replaced by the next.
    fn status(&self, text: &str);
    /// Removes that line.
    fn clear_status(&self) {
        self.status_remover()();
    }
    /// What removes that line, in any thread.
    fn status_remover(&self) -> fn();
    /// Lines that stay.
    fn message(&self, text: &str);
}

/// Ignores all progress.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Progress for Quiet {
    fn status(&self, _: &str) {}
    fn status_remover(&self) -> fn() {
        || ()
    }
    fn message(&self, _: &str) {}
}

/// How often a status line is drawn anew.
const TICK: Duration = Duration::from_millis(250);

/// Draws the status line anew. Set by the command line; a library has none.
static REDRAW: OnceLock<fn()> = OnceLock::new();

thread_local! {
    /// How many bytes were copied to or from guests.
    static COPIED: Cell<u64> = const { Cell::new(0) };
}

/// What goes on, to be shown beside a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Since the process was started.
    pub copied: u64,
    /// The latest line on the console of a machine that boots, without control characters.
    pub console: Option<String>,
}

impl Activity {
    /// What has gone on in this thread by now.
    pub fn now() -> Self {
        Self {
            copied: COPIED.get(),
            console: console::watched_line(),
        }
    }
}

/// More bytes were copied.
pub(crate) fn copied(bytes: usize) {
    COPIED.set(COPIED.get() + bytes as u64);
}

/// Has `redraw` called from time to time while the event loop runs.
pub fn redraw_with(redraw: fn()) {
    let _ = REDRAW.set(redraw);
}

/// Redraws for ever.
pub(crate) async fn tick<T>() -> T {
    let Some(redraw) = REDRAW.get() else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(TICK).await;
        redraw();
    }
}
