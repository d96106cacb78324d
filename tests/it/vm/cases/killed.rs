//! Invariant "Nothing is left behind": a run of many cases, and the preparation of their machine, are
//! ended at any instant.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::Fixture;
use crate::env::bivouac::{Running, children};
use crate::env::random::Random;
use crate::env::wait::soon;

/// How many instants of each, and how long a run and a preparation take, in milliseconds.
const INSTANTS: usize = 15;
const RUN: u64 = 2500;
const STEP: u64 = 1500;

#[test]
fn nothing_is_left_of_a_test_whatever_the_instant() {
    killed_at_random_instants(RUN, |_| "--prepare=true".to_owned());
}

#[test]
fn nothing_is_left_of_a_test_that_prepares_its_machine_whatever_the_instant() {
    killed_at_random_instants(STEP, |instant| {
        format!("--prepare=: {instant}; dd if=/dev/zero of=/f bs=1M count=8")
    });
}

/// Half of thirty, so that two cores share them: tests with the step that `step` makes for each are
/// ended within so many milliseconds.
fn killed_at_random_instants(limit: u64, step: impl Fn(usize) -> String) {
    let fixture = Fixture::new();
    let before = fixture.untouched();
    let mut random = Random::new();
    let (built, _) = fixture.run(&["--prepare=true"], "true");
    assert_eq!(built.code(), Some(0), "{built:?}");
    for instant in 0..INSTANTS {
        let signal = random.of(&[Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM]);
        let step = step(instant);
        let wait = random.below(limit);
        println!("{signal} after {wait} ms of {step}");
        let options = ["--jobs=2", &step];
        let running = fixture.test(&options, &["sleep 1"; 30]).start();
        std::thread::sleep(Duration::from_millis(wait));
        let started = children(running.pid());
        end(running, signal);
        fixture.is_clean(&started);
    }
    // What is in the store is whole.
    let finished = fixture.test(&["--prepare=true"], &["true", ":"]).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(finished.stderr, "");
    assert_eq!(fixture.untouched(), before);
    fixture.is_clean(&[]);
}

fn end(running: Running, signal: Signal) {
    running.signal(signal);
    let finished = running.wait();
    // Before it listens to signals they end it themselves.
    let expected = (signal != Signal::SIGKILL).then_some(128 + signal as i32);
    assert!(
        finished.code() == expected || finished.code().is_none(),
        "{finished:?}"
    );
}

#[test]
fn a_qemu_that_is_killed_is_one_cases_failure() {
    let fixture = Fixture::new();
    let built = fixture.test(&[], &["true"]).output();
    assert_eq!(built.code(), Some(0), "{built:?}");
    let options = ["--jobs=1", "--verbose"];
    let mut running = fixture.test(&options, &["sleep 1000", "true"]).start();
    let qemu = running.qemu();
    soon("the first machine is ready", || {
        running.said().contains("ready after")
    });
    nix::sys::signal::kill(qemu, Signal::SIGKILL).unwrap();
    let finished = running.wait();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    let lines: Vec<_> = finished.stdout.lines().collect();
    assert!(lines[0].starts_with("FAIL "), "{finished:?}");
    assert!(lines[1].starts_with("PASS "), "{finished:?}");
    fixture.is_clean(&[qemu]);
}

#[test]
fn a_signal_to_every_process_of_the_job_is_one_to_bivouac() {
    let fixture = Fixture::new();
    let (built, _) = fixture.run(&["--prepare=true"], "true");
    assert_eq!(built.code(), Some(0), "{built:?}");
    let cases = ["echo begun; sleep 1000"; 4];
    let running = fixture
        .test(&["--jobs=2", "--prepare=true"], &cases)
        .start();
    soon("two machines run", || children(running.pid()).len() >= 2);
    let started = children(running.pid());
    running.signal_job(Signal::SIGTERM);
    let finished = running.wait();
    assert_eq!(finished.code(), Some(143), "{finished:?}");
    fixture.is_clean(&started);
}
