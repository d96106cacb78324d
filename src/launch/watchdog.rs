//! The last resort of `--timeout`. If the event loop does not notice its deadline, because it is blocked
//! or kept busy, a thread kills QEMU and ends the process. If the process is stopped (SIGSTOP), another
//! process kills QEMU.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::exit::Status;
use crate::machine::process;
use crate::machine::time_guard::TimeGuard;
use crate::sys;

/// How long the event loop has to notice its deadline, in seconds.
const GRACE: u32 = 5;

/// Stands down when it is dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    _held: Sender<()>,
    _guard: Option<TimeGuard>,
}

impl Watchdog {
    /// Counts from now, for every QEMU that is started from now on.
    pub fn start(timeout: Duration) -> io::Result<Self> {
        // After the event loop, which can say more: the thread and the guard only act if it does not.
        let later = timeout.saturating_add(Duration::from_secs(1));
        let guard = match TimeGuard::start(later) {
            Ok(guard) => Some(guard),
            // A program that uses the library may have threads.
            Err(error) => {
                tracing::debug!("no process guards the time-out: {error}");
                None
            }
        };
        let (held, dropped) = channel();
        thread::Builder::new().spawn(move || watch(&dropped, timeout))?;
        Ok(Self {
            _held: held,
            _guard: guard,
        })
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
