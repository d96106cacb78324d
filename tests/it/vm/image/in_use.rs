//! Locks of a QEMU that has the image open.

use super::Images;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A QEMU that is stopped before its first instruction and holds a disk; it ends with the test.
struct Qemu(Child);

impl Qemu {
    fn holding(images: &Images, blockdev: &str) -> Self {
        let child = Command::new("qemu-system-x86_64")
            .args([
                "-machine",
                "none,accel=tcg",
                "-S",
                "-display",
                "none",
                "-nodefaults",
            ])
            .args(["-blockdev", blockdev])
            .current_dir(images.dir())
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-system-x86_64 runs");
        Self(child)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the top is in use, as soon as it is as expected, or after ten seconds.
fn in_use(images: &Images, image: &str, expected: bool) -> bool {
    let start = Instant::now();
    loop {
        let json = images.json(&[image]);
        assert_eq!(json["accepted"], true, "in use is no problem: {json}");
        let found = json["layers"][0]["in_use"] == true;
        if found == expected || start.elapsed() > Duration::from_secs(10) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_image_that_a_qemu_has_open_for_writing_is_said_to_be_in_use() {
    let images = Images::new();
    images.qcow2("disk.qcow2");
    assert!(!in_use(&images, "disk.qcow2", false));
    let qemu = Qemu::holding(
        &images,
        "driver=qcow2,node-name=d,file.driver=file,file.filename=disk.qcow2,file.locking=on",
    );
    assert!(in_use(&images, "disk.qcow2", true));
    let tree = images.accepted(&["disk.qcow2"]);
    assert!(tree.contains(", in use\n"), "{tree}");
    assert!(
        tree.contains("being written by another process: what is read may be inconsistent"),
        "{tree}"
    );
    drop(qemu);
    assert!(!in_use(&images, "disk.qcow2", false));
}

#[test]
fn an_image_that_is_only_read_is_not_in_use() {
    let images = Images::new();
    images.qcow2("disk.qcow2");
    let marker = images.path("ready.pid");
    let mut qemu = Qemu(
        Command::new("qemu-system-x86_64")
            .args(["-machine", "none,accel=tcg", "-S", "-display", "none", "-nodefaults"])
            .args(["-blockdev", "driver=qcow2,node-name=d,read-only=on,file.driver=file,file.filename=disk.qcow2,file.locking=on"])
            .args(["-pidfile".as_ref(), marker.as_os_str()])
            .current_dir(images.dir())
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-system-x86_64 runs"),
    );
    let start = Instant::now();
    while !marker.exists() && start.elapsed() < Duration::from_secs(10) {
        assert!(qemu.0.try_wait().expect("waited").is_none(), "QEMU ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(!in_use(&images, "disk.qcow2", false));
}
