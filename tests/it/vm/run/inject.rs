//! Before a command: an appliance prepares the overlay. Nothing is left behind of it, whenever it
//! ends, and an image that holds nothing to prepare is refused.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;
use crate::env::mount_ns::MountNs;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

#[test]
fn an_image_without_a_system_is_refused_before_anything_boots() {
    let finished = Bivouac::run()
        .args(["--memory", "256M", "--timeout", "4m", "--via", "inject"])
        .arg(guest("tiny.qcow2"))
        .args(["--", "true"])
        .output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    let said = &finished.stderr;
    assert!(
        said.contains("no system on the disks could start bivouac's agent"),
        "{said}"
    );
    assert!(said.contains("--via qga"), "{said}");
}

#[test]
fn nothing_is_left_when_it_ends_while_the_agent_is_injected() {
    let ns = MountNs::new();
    let image = ns.path("kept/box.qcow2");
    std::fs::copy(guest("box.qcow2"), &image).unwrap();
    let before = sha256(&image);
    let free = ns.free();
    // From before the appliance's kernel runs to after its agent has answered.
    for (moment, signal) in [
        (100, Signal::SIGKILL),
        (1500, Signal::SIGKILL),
        (2500, Signal::SIGTERM),
        (3500, Signal::SIGKILL),
    ] {
        let mut running = ns
            .bivouac()
            .args(["run", "--via", "inject"])
            .args(["--kernel", &ns.inside("kept/tiny-kernel")])
            .arg(ns.inside("kept/box.qcow2"))
            .args(["--", "true"])
            .start();
        let qemu = running.qemu();
        std::thread::sleep(Duration::from_millis(moment));
        // On a fast machine it may be over by now: then it was refused, and left nothing either.
        let _ = kill(running.pid(), signal);
        running.wait();
        soon(&format!("QEMU is gone, {moment} ms"), || !alive(qemu));
        soon(&format!("its overlay is gone, {moment} ms"), || {
            ns.free() >= free
        });
        assert!(ns.residue().is_empty(), "{moment}: {:?}", ns.residue());
        assert_eq!(sha256(&image), before, "{moment} ms");
    }
}
