//! Invariant "Nothing is left behind", while a command runs in an image's root.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::env::den::Den;
use crate::env::guests::guest;
use crate::env::residue::{alive, sha256};

#[test]
fn nothing_is_left_when_it_ends_while_a_command_writes() {
    let den = Den::new();
    std::fs::copy(guest("box.qcow2"), den.path("kept/box.qcow2")).unwrap();
    let before = sha256(&den.path("kept/box.qcow2"));
    let free = den.free();
    type Way = fn(nix::unistd::Pid, nix::unistd::Pid);
    let ways: [(&str, Way); 4] = [
        ("the launcher is killed", |launcher, _| {
            kill(launcher, Signal::SIGKILL).unwrap();
        }),
        ("QEMU is killed", |_, qemu| {
            kill(qemu, Signal::SIGKILL).unwrap()
        }),
        ("both are killed", |launcher, qemu| {
            kill(launcher, Signal::SIGKILL).unwrap();
            kill(qemu, Signal::SIGKILL).unwrap();
        }),
        ("two signals", |launcher, _| {
            kill(launcher, Signal::SIGTERM).unwrap();
            // The first must be heeded before the second comes, or they are one.
            std::thread::sleep(Duration::from_millis(500));
            kill(launcher, Signal::SIGTERM).unwrap();
        }),
    ];
    for (name, way) in ways {
        let script = "trap '' TERM; echo go; while :; do dd if=/dev/urandom of=/root/f bs=1M count=8; sync; done";
        let mut running = den
            .bivouac()
            .arg("chroot")
            .arg(den.inside("kept/box.qcow2"))
            .args(["--", "sh", "-c", script])
            .start();
        let qemu = running.qemu();
        running.wait_for("go");
        std::thread::sleep(Duration::from_millis(300));
        way(running.pid(), qemu);
        let since = Instant::now();
        running.wait();
        while alive(qemu) || den.free() < free {
            assert!(
                since.elapsed() < Duration::from_secs(1),
                "{name}: QEMU or its overlay is left"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(den.residue().is_empty(), "{name}: {:?}", den.residue());
        assert_eq!(sha256(&den.path("kept/box.qcow2")), before, "{name}");
    }
}
