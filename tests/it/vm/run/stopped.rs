//! A launcher that is stopped: its QEMU does not outlive `--timeout`, and no guard outlives the launcher.

use nix::sys::signal::Signal;

use super::{ended, run_tiny};
use crate::env::bivouac::children;
use crate::env::residue::alive;
use crate::env::script::write_script;
use crate::env::wait::{patiently, soon};

#[test]
fn a_stopped_launcher_keeps_no_qemu_beyond_its_time_out() {
    let mut running = run_tiny("hang").args(["--timeout", "20"]).start();
    let qemu = running.qemu();
    running.signal(Signal::SIGSTOP);
    patiently("QEMU is dead", || !alive(qemu));
    running.signal(Signal::SIGCONT);
    let finished = running.wait();
    ended(&finished, 124);
    let words = "--timeout";
    assert!(finished.stderr.contains(words), "{finished:?}");
}

#[test]
fn a_launcher_that_is_stopped_while_qemu_starts_names_the_time_out_too() {
    let dir = tempfile::tempdir().unwrap();
    let (silent, asleep) = (dir.path().join("silent-qemu"), dir.path().join("asleep"));
    let script = format!("touch {}; exec sleep 3600", asleep.display());
    write_script(&silent, &script);
    let run = run_tiny("hang").args(["--timeout", "10"]);
    let run = run.env("BIVOUAC_QEMU", &silent);
    let running = run.env("BIVOUAC_SANDBOX", "off").start();
    patiently("QEMU is being started", || asleep.exists());
    running.signal(Signal::SIGSTOP);
    let processes = children(running.pid());
    patiently("QEMU is dead", || {
        let alive = processes.iter().filter(|pid| alive(**pid));
        alive.count() == 1
    });
    running.signal(Signal::SIGCONT);
    let finished = running.wait();
    ended(&finished, 124);
    assert!(finished.stderr.contains("--timeout"), "{finished:?}");
}

#[test]
fn the_guard_of_a_time_out_ends_with_the_launcher() {
    let mut running = run_tiny("hang").args(["--timeout", "1h"]).start();
    running.qemu();
    let processes = children(running.pid());
    assert_eq!(processes.len(), 2, "QEMU and the guard: {processes:?}");
    running.signal(Signal::SIGKILL);
    running.wait();
    soon("no process is left", || {
        !processes.iter().any(|pid| alive(*pid))
    });
}
