//! Signals to every process of a job, as batch schedulers send them.

use nix::sys::signal::Signal;

use super::{ended, run_tiny};

#[test]
fn a_signal_to_every_process_of_the_job_is_one_to_bivouac() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut running = run_tiny("hang").start();
        running.qemu();
        running.wait_for("SeaBIOS");
        running.signal_job(signal);
        ended(&running.wait(), 128 + signal as i32);
    }
}
