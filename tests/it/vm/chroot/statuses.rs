//! Every way in which a command, or the machine under it, may end, has its exit status.

use nix::sys::signal::{Signal, kill};

use super::chroot;
use crate::env::guests::guest;
use crate::env::residue::sha256;

/// Runs `sh -c SCRIPT`, expects this status, and this on standard error: nothing, or a part of it.
fn ends(script: &str, status: i32, said: &str) {
    let finished = chroot(&[], &["sh", "-c", script]).output();
    assert_eq!(finished.code(), Some(status), "{script}: {finished:?}");
    let fits = match said {
        "" => finished.stderr.is_empty(),
        said => finished.stderr.contains(said),
    };
    assert!(fits, "{script}: {finished:?}");
}

#[test]
fn a_commands_own_status_is_passed_through() {
    let before = sha256(&guest("box.qcow2"));
    for status in [0, 1, 7, 255] {
        ends(&format!("echo x > /root/f; exit {status}"), status, "");
    }
    assert_eq!(sha256(&guest("box.qcow2")), before);
}

#[test]
fn a_command_that_a_signal_ends_gives_128_and_its_number() {
    ends("kill -TERM $$", 128 + 15, "");
    ends("kill -KILL $$", 128 + 9, "");
}

#[test]
fn a_command_that_cannot_be_invoked_gives_126_or_127() {
    for (program, status, said) in [
        (
            "no-such-program",
            127,
            "no-such-program: not found in the guest",
        ),
        (
            "/bin/not-a-program",
            126,
            "cannot be executed in the guest: Permission denied",
        ),
        (
            "/etc",
            126,
            "cannot be executed in the guest: Permission denied",
        ),
    ] {
        let finished = chroot(&[], &[program]).output();
        assert_eq!(finished.code(), Some(status), "{program}: {finished:?}");
        assert!(finished.stderr.contains(said), "{program}: {finished:?}");
    }
}

#[test]
fn a_crash_of_the_machine_is_122_at_once_and_says_why() {
    let trigger = |key: &str| format!("echo {key} > /proc/sysrq-trigger; sleep 1000");
    ends(&trigger("c"), 122, "Kernel panic - not syncing: sysrq");
    ends(&trigger("b"), 122, "the guest was reset");
    ends("poweroff -f; sleep 1000", 122, "the guest powered off");
    ends("reboot -f; sleep 1000", 122, "the guest was reset");
}

#[test]
fn a_time_out_is_124() {
    let finished = chroot(&["--timeout", "12"], &["sleep", "1000"]).output();
    assert_eq!(finished.code(), Some(124), "{finished:?}");
    assert!(
        finished.stderr.contains("--timeout ran out after 12 s"),
        "{finished:?}"
    );
}

#[test]
fn a_qemu_that_is_killed_is_123() {
    let mut running = chroot(&[], &["sh", "-c", "echo here; sleep 1000"]).start();
    running.wait_for("here");
    kill(running.qemu(), Signal::SIGKILL).unwrap();
    let finished = running.wait();
    assert_eq!(finished.code(), Some(123), "{finished:?}");
    assert!(
        finished.stderr.contains("QEMU died: killed by SIGKILL"),
        "{finished:?}"
    );
}

#[test]
fn the_first_signal_is_the_commands_and_the_second_ends_the_machine() {
    let script = "trap 'echo heard' TERM; echo ready; while :; do sleep 1; done";
    let mut running = chroot(&[], &["sh", "-c", script]).start();
    running.wait_for("ready");
    running.signal(Signal::SIGTERM);
    running.wait_for("heard");
    running.signal(Signal::SIGINT);
    let finished = running.wait();
    assert_eq!(finished.code(), Some(128 + 2), "{finished:?}");

    // One that is not caught there ends the command.
    let mut running = chroot(&[], &["sh", "-c", "echo ready; sleep 1000"]).start();
    running.wait_for("ready");
    running.signal(Signal::SIGINT);
    let finished = running.wait();
    assert_eq!(finished.code(), Some(128 + 2), "{finished:?}");
}

#[test]
fn a_signal_to_every_process_of_the_job_is_one_to_bivouac() {
    let mut running = chroot(&[], &["sh", "-c", "echo here; sleep 1000"]).start();
    running.wait_for("here");
    running.signal_job(Signal::SIGTERM);
    let finished = running.wait();
    assert_eq!(finished.code(), Some(143), "{finished:?}");
    assert_eq!(finished.stderr, "");
    // Bivouac before QEMU, and a command that the signal does not end.
    let script = "trap '' TERM; echo here; sleep 1000";
    let mut running = chroot(&[], &["sh", "-c", script]).start();
    running.wait_for("here");
    let qemu = running.qemu();
    running.signal(Signal::SIGTERM);
    // It has been passed on by now.
    std::thread::sleep(std::time::Duration::from_millis(300));
    kill(qemu, Signal::SIGTERM).unwrap();
    let finished = running.wait();
    assert_eq!(finished.code(), Some(143), "{finished:?}");
    assert_eq!(finished.stderr, "");
    // While it starts, too.
    let mut running = chroot(&["--no-template"], &["true"]).start();
    running.qemu();
    running.signal_job(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(143));
}
