//! Sandboxes without the filesystems that every system has.

use crate::env::guests::guest;
use crate::env::mount_ns::MountNs;

fn image(ns: &MountNs) -> String {
    std::fs::copy(guest("box.qcow2"), ns.path("kept/box.qcow2")).unwrap();
    ns.inside("kept/box.qcow2")
}

#[test]
fn there_need_be_no_dev() {
    let ns = MountNs::new();
    let file = format!("{}:/etc/inittab", image(&ns));
    ns.shell("mount -t tmpfs none /dev");
    let finished = ns.bivouac().args(["cat", "--no-template", &file]).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert!(finished.stdout.contains("sysinit"), "{finished:?}");
}

#[test]
fn without_proc_it_is_said_what_to_mount() {
    let ns = MountNs::new();
    let file = format!("{}:/etc/inittab", image(&ns));
    ns.shell("mount -t tmpfs none /proc");
    let finished = ns.bivouac().args(["cat", "--no-template", &file]).output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    assert!(
        finished.stderr.contains("hint: mount /proc"),
        "{finished:?}"
    );
}

#[test]
fn an_overlay_in_memory_is_warned_of_once_though_the_machine_is_prepared_twice() {
    let ns = MountNs::new();
    // With an argument of QEMU's own there is no template.
    let run = ns.run_tiny("poweroff").arg("--warm");
    let finished = run.arg("--qemu-arg=-nodefaults").output();
    let said = &finished.stderr;
    assert!(said.contains("the machine is booted"), "{finished:?}");
    let warnings = said.matches("what the guest writes takes memory").count();
    assert_eq!(warnings, 1, "{finished:?}");
}
