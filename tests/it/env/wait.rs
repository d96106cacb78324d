//! Waiting for what comes: an event, never a length of time. The limits are for what hangs.

use std::io;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// What takes an instant on an idle machine, and still comes on one with ten times its load.
pub const SOON: Duration = Duration::from_secs(60);

/// However slow the machine: a guest that has not come this far hangs.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Waits until `done`. Panics with `what` where that takes longer than [`SOON`].
#[track_caller]
pub fn soon(what: &str, done: impl FnMut() -> bool) {
    until(SOON, what, done);
}

/// The same for what takes as long as a boot, or longer.
#[track_caller]
pub fn patiently(what: &str, done: impl FnMut() -> bool) {
    until(PATIENCE, what, done);
}

#[track_caller]
fn until(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Does what forks, again where the system has no process to give just now (EAGAIN).
fn forking<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let start = Instant::now();
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && start.elapsed() < SOON => {
                std::thread::sleep(Duration::from_millis(50));
            }
            done => return done,
        }
    }
}

/// [`Command::spawn`] on a busy machine.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    forking(|| command.spawn())
}

/// [`Command::output`] on a busy machine.
pub fn output(command: &mut Command) -> io::Result<Output> {
    forking(|| command.output())
}
