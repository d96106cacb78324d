//! A machine on the copy of a packed image: nothing is left of either, and the packed file is as it was.

use std::fs;

use nix::sys::signal::{Signal, kill};

use crate::env::bivouac::Running;
use crate::env::filesystems::run;
use crate::env::mount_ns::MountNs;
use crate::env::ova::{ova, ovf, vmdk};
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

/// The tiny guest on the image `name` in the namespace, which it writes to.
fn start(ns: &MountNs, name: &str) -> Running {
    let inside = |name: &str| ns.inside(&format!("kept/{name}"));
    let append = "console=ttyS0 quiet no_timer_check bivouac.do=write";
    ns.bivouac()
        .args([
            "run", "-v", "--memory", "256M", "--cpus", "1", "--append", append,
        ])
        .args(["--kernel", &inside("tiny-kernel")])
        .args(["--initrd", &inside("tiny-initrd")])
        .arg(inside(name))
        .start()
}

#[test]
fn nothing_is_left_of_a_run_of_a_packed_image_whoever_is_killed() {
    let ns = MountNs::new();
    let dir = ns.path("kept");
    let raw = dir.join("tiny.raw");
    let paths = [ns.image(), raw.clone()];
    let paths = paths.each_ref().map(|path| path.to_str().unwrap());
    run(
        "qemu-img",
        &[&["convert", "-O", "raw"][..], &paths].concat(),
    );
    vmdk(&raw);
    run("xz", &["-k", "-1", ns.image().to_str().unwrap()]);
    ova(&dir, "tiny.ova", &ovf(&["tiny.vmdk"], ""), &["tiny.vmdk"]);
    for name in [raw, dir.join("tiny.vmdk")] {
        fs::remove_file(name).unwrap();
    }
    let free = ns.free();
    let check = |name: &str, before: &str| {
        soon(&format!("the space is given back: {name}"), || {
            ns.free() >= free
        });
        assert!(ns.residue().is_empty(), "{name}: {:?}", ns.residue());
        assert_eq!(sha256(&dir.join(name)), before, "{name} has changed");
    };
    for name in ["tiny.ova", "tiny.qcow2.xz"] {
        let before = sha256(&dir.join(name));
        for (to_launcher, signal) in [
            (true, Signal::SIGKILL),
            (true, Signal::SIGTERM),
            (false, Signal::SIGKILL),
        ] {
            let mut running = start(&ns, name);
            let qemu = running.qemu();
            running.wait_for("tiny: wrote ");
            match to_launcher {
                true => running.signal(signal),
                false => kill(qemu, signal).unwrap(),
            }
            let done = running.wait();
            assert!(!done.status.success(), "{done:?}");
            soon("QEMU is gone", || !alive(qemu));
            check(name, &before);
        }
    }
}
