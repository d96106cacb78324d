//! A command under a kernel whose modules the image does not have: the driver of the agent's port is one.

use std::path::{Path, PathBuf};

use bivouac::host::kernel;

use super::ended;
use crate::env::bivouac::{Bivouac, Finished};
use crate::env::guests::guest;

/// This host's kernel, and its release.
fn host_kernel() -> (PathBuf, String) {
    let found = kernel::find(None).unwrap();
    (found.image, found.release.unwrap())
}

/// A run of the box, whose boot takes its modules from the initial RAM disk only.
fn run(kernel: &Path) -> Finished {
    let initrd = format!("/boot/initrd.img-{}", host_kernel().1);
    Bivouac::run()
        .args(["--memory", "512M", "--boot-timeout", "20m", "--kernel"])
        .arg(kernel)
        .args(["--initrd", &initrd, "--append", "root=/dev/vda1 rw quiet"])
        .arg(guest("box.raw"))
        .args(["--", "uname", "-r"])
        .output()
}

#[test]
fn the_agent_brings_the_driver_of_its_port_for_a_kernel_of_this_host() {
    let (kernel, release) = host_kernel();
    let finished = run(&kernel);
    ended(&finished, 0);
    assert_eq!(finished.stdout, format!("{release}\n"));
}

/// The same kernel, for which no modules are found by the release in its header.
#[test]
fn a_kernel_without_a_driver_for_the_port_is_told_before_the_time_out() {
    let (kernel, release) = host_kernel();
    let mut bytes = std::fs::read(kernel).unwrap();
    let at = usize::from(u16::from_le_bytes([bytes[0x20e], bytes[0x20f]])) + 0x200;
    assert!(bytes[at..].starts_with(release.as_bytes()));
    bytes[at] = b'x';
    let dir = tempfile::tempdir().unwrap();
    let unknown = dir.path().join("kernel");
    std::fs::write(&unknown, bytes).unwrap();
    let finished = run(&unknown);
    ended(&finished, 122);
    let words = "the guest did not boot: its kernel has no driver for the agent's port";
    assert!(finished.stderr.contains(words), "{finished:?}");
}
