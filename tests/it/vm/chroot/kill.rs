//! Invariant "Nothing is left behind", while a command runs in an image's root.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::env::bivouac::Running;
use crate::env::guests::guest;
use crate::env::mount_ns::MountNs;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

/// What a signal ends, and how.
type Way = fn(&mut Running, Pid);

const WAYS: [(&str, Way); 4] = [
    ("the launcher is killed", |launcher, _| {
        launcher.signal(Signal::SIGKILL)
    }),
    ("QEMU is killed", |_, qemu| {
        kill(qemu, Signal::SIGKILL).unwrap()
    }),
    ("both are killed", |launcher, qemu| {
        launcher.signal(Signal::SIGKILL);
        kill(qemu, Signal::SIGKILL).unwrap();
    }),
    ("two signals", |launcher, _| {
        launcher.signal(Signal::SIGTERM);
        // The first must have come to the command before the second is sent, or they are one.
        launcher.wait_for("told to end");
        launcher.signal(Signal::SIGTERM);
    }),
];

#[test]
fn nothing_is_left_when_it_ends_while_a_command_writes() {
    let ns = MountNs::new();
    std::fs::copy(guest("box.qcow2"), ns.path("kept/box.qcow2")).unwrap();
    let before = sha256(&ns.path("kept/box.qcow2"));
    let free = ns.free();
    for (name, way) in WAYS {
        let script = "trap 'echo told to end' TERM; \
             while :; do dd if=/dev/urandom of=/root/f bs=1M count=8; sync; echo wrote; done";
        let mut running = ns
            .bivouac()
            .arg("chroot")
            .arg(ns.inside("kept/box.qcow2"))
            .args(["--", "sh", "-c", script])
            .start();
        let qemu = running.qemu();
        running.wait_for("wrote");
        way(&mut running, qemu);
        running.wait();
        soon(&format!("QEMU is gone: {name}"), || !alive(qemu));
        soon(&format!("its overlay is gone: {name}"), || {
            ns.free() >= free
        });
        assert!(ns.residue().is_empty(), "{name}: {:?}", ns.residue());
        assert_eq!(sha256(&ns.path("kept/box.qcow2")), before, "{name}");
    }
}
