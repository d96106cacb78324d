//! The last resort of `--timeout`: a thread that does not depend on the event loop. If the loop does
//! not notice its deadline, because it is blocked or kept busy, the thread kills QEMU and ends the
//! process.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::exit::Status;
use crate::machine::process;
use crate::sys;

/// How long the event loop has to notice its deadline, in seconds.
const GRACE: u32 = 5;

/// Stands down when it is dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    _held: Sender<()>,
}

impl Watchdog {
    /// Counts from now.
    pub fn start(timeout: Duration) -> io::Result<Self> {
        let (held, dropped) = channel();
        thread::Builder::new().spawn(move || watch(&dropped, timeout))?;
        Ok(Self { _held: held })
    }
}

fn watch(dropped: &Receiver<()>, timeout: Duration) {
    // In steps: if the process is stopped meanwhile, the loop has its time after that.
    let steps = (0..GRACE).map(|_| Duration::from_secs(1));
    for step in std::iter::once(timeout).chain(steps) {
        if dropped.recv_timeout(step) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
    process::kill_all();
    // Standard error may be what blocks.
    let seconds = timeout.as_secs_f64();
    let said = thread::Builder::new().spawn(move || {
        tracing::error!("--timeout ran out after {seconds} s, and bivouac itself was blocked");
    });
    let mut tries = 0..100;
    while tries.next().is_some() && said.as_ref().is_ok_and(|said| !said.is_finished()) {
        thread::sleep(Duration::from_millis(10));
    }
    sys::exit_now(Status::TimedOut.code());
}
