//! Invariant "Nothing is left behind": the kill matrix. Each way to end a run at each phase of
//! it, and then at random instants; after each one the same questions.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::env::bivouac::{Finished, Running};
use crate::env::mount_ns::MountNs;
use crate::env::random::Random;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

#[derive(Clone, Copy, Debug)]
enum Way {
    KillLauncher,
    KillQemu,
    CrashQemu,
    KillBoth,
    StopQemuAndEndLauncher,
    End(Signal),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// QEMU is executed, and has not greeted.
    Start,
    /// The guest's firmware or kernel runs.
    Boot,
    /// The guest writes all over its disk.
    Write,
    /// The guest has powered off, QEMU is on its way out.
    Shutdown,
}

const PHASES: [Phase; 4] = [Phase::Start, Phase::Boot, Phase::Write, Phase::Shutdown];

impl Phase {
    fn action(self) -> &'static str {
        match self {
            Self::Shutdown => "poweroff",
            _ => "write",
        }
    }

    fn reach(self, running: &mut Running) {
        match self {
            Self::Start => {}
            Self::Boot => running.wait_for("SeaBIOS"),
            Self::Write => running.wait_for("tiny: wrote "),
            Self::Shutdown => running.wait_for("Power down"),
        }
    }
}

impl Way {
    /// Does it. QEMU may be gone already when the guest has powered off.
    fn go(self, running: &Running, qemu: Pid) {
        let to_qemu = |signal| {
            let _ = kill(qemu, signal);
        };
        match self {
            Self::KillLauncher => running.signal(Signal::SIGKILL),
            Self::KillQemu => to_qemu(Signal::SIGKILL),
            Self::CrashQemu => to_qemu(Signal::SIGSEGV),
            Self::KillBoth => {
                running.signal(Signal::SIGKILL);
                to_qemu(Signal::SIGKILL);
            }
            Self::StopQemuAndEndLauncher => {
                to_qemu(Signal::SIGSTOP);
                running.signal(Signal::SIGTERM);
            }
            Self::End(signal) => running.signal(signal),
        }
    }

    /// Whether bivouac's end is the one that is promised.
    fn check(self, finished: &Finished, may_have_ended: bool) {
        if may_have_ended && finished.code() == Some(0) {
            return;
        }
        match self {
            Self::KillLauncher | Self::KillBoth => {
                assert_eq!(
                    finished.status.signal(),
                    Some(libc::SIGKILL),
                    "{finished:?}"
                );
            }
            Self::KillQemu => died(finished, "killed by SIGKILL"),
            Self::CrashQemu => died(finished, "killed by SIGSEGV"),
            Self::StopQemuAndEndLauncher => {
                assert_eq!(finished.code(), Some(128 + 15), "{finished:?}")
            }
            Self::End(signal) => {
                assert_eq!(finished.code(), Some(128 + signal as i32), "{finished:?}")
            }
        }
    }
}

fn died(finished: &Finished, how: &str) {
    assert_eq!(finished.code(), Some(123), "{finished:?}");
    assert!(finished.stderr.contains("QEMU died"), "{finished:?}");
    assert!(finished.stderr.contains(how), "{finished:?}");
}

/// One cell of the matrix.
fn cell(ns: &MountNs, way: Way, phase: Phase, delay: Duration) {
    let before = sha256(&ns.image());
    let free = ns.free();
    let mut running = ns.run_tiny(phase.action()).start();
    let qemu = running.qemu();
    phase.reach(&mut running);
    std::thread::sleep(delay);
    let may_have_ended = phase == Phase::Shutdown || !delay.is_zero();
    way.go(&running, qemu);
    let finished = running.wait();
    way.check(&finished, may_have_ended);
    let cell = format!("{way:?} at {phase:?}");
    soon(&format!("QEMU is gone: {cell}"), || !alive(qemu));
    soon(&format!("the space is given back: {cell}"), || {
        ns.free() >= free
    });
    let residue = ns.residue();
    assert!(residue.is_empty(), "{cell}: left behind: {residue:?}");
    assert!(unlocked(ns), "{cell}: the image is locked");
    assert_eq!(sha256(&ns.image()), before, "{cell}: the image has changed");
}

/// Nobody holds a lock on any byte of the image.
fn unlocked(ns: &MountNs) -> bool {
    let image = std::fs::File::open(ns.image()).unwrap();
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&image, FcntlArg::F_OFD_GETLK(&mut lock)).unwrap();
    lock.l_type == libc::F_UNLCK as libc::c_short
}

fn row(way: Way) {
    let ns = MountNs::new();
    for phase in PHASES {
        cell(&ns, way, phase, Duration::ZERO);
    }
}

#[test]
fn nothing_is_left_when_the_launcher_is_killed() {
    row(Way::KillLauncher);
}

#[test]
fn nothing_is_left_when_qemu_is_killed() {
    row(Way::KillQemu);
}

#[test]
fn nothing_is_left_when_qemu_crashes() {
    row(Way::CrashQemu);
}

#[test]
fn nothing_is_left_when_launcher_and_qemu_are_killed() {
    row(Way::KillBoth);
}

#[test]
fn nothing_is_left_when_qemu_is_stopped_and_the_launcher_is_told_to_end() {
    row(Way::StopQemuAndEndLauncher);
}

#[test]
fn nothing_is_left_after_sigterm() {
    row(Way::End(Signal::SIGTERM));
}

#[test]
fn nothing_is_left_after_sigint() {
    row(Way::End(Signal::SIGINT));
}

#[test]
fn nothing_is_left_after_sighup() {
    row(Way::End(Signal::SIGHUP));
}

/// Twenty rounds in two tests, so that two cores share them.
fn random_rounds() {
    let ns = MountNs::new();
    let mut random = Random::new();
    let ways = [
        Way::KillLauncher,
        Way::KillQemu,
        Way::CrashQemu,
        Way::KillBoth,
        Way::StopQemuAndEndLauncher,
        Way::End(Signal::SIGTERM),
        Way::End(Signal::SIGINT),
        Way::End(Signal::SIGHUP),
    ];
    for _ in 0..10 {
        let way = random.of(&ways);
        let phase = random.of(&[Phase::Start, Phase::Shutdown]);
        // A shutdown is over in an instant; everything else takes its time.
        let longest = if phase == Phase::Start {
            5_000_000
        } else {
            5_000
        };
        let delay = Duration::from_micros(random.below(longest));
        println!("{way:?} {delay:?} after {phase:?}");
        cell(&ns, way, phase, delay);
    }
}

#[test]
fn nothing_is_left_whatever_the_instant_first_half() {
    random_rounds();
}

#[test]
fn nothing_is_left_whatever_the_instant_second_half() {
    random_rounds();
}
