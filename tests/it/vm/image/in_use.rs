//! Locks of a QEMU that has the image open.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use super::Images;

/// A QEMU that is stopped before its first instruction and holds a disk; it ends with the test.
struct Qemu(Child);

impl Qemu {
    fn holding(images: &Images, options: &str) -> Self {
        let node =
            "driver=qcow2,node-name=d,file.driver=file,file.filename=disk.qcow2,file.locking=on";
        let mut child = Command::new("qemu-system-x86_64")
            .args([
                "-machine",
                "none,accel=tcg",
                "-nodefaults",
                "-display",
                "none",
                "-S",
            ])
            .args(["-blockdev", &format!("{node}{options}"), "-qmp", "stdio"])
            .current_dir(images.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("qemu-system-x86_64 runs");
        // Its greeting comes when everything is open.
        let mut greeting = [0; 16];
        let stdout = child.stdout.as_mut().expect("its output");
        stdout.read_exact(&mut greeting).expect("a greeting");
        Self(child)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the top is in use, which is no problem.
fn in_use(images: &Images, image: &str) -> bool {
    let json = images.json(&[image]);
    assert_eq!(json["accepted"], true, "{json}");
    json["layers"][0]["in_use"] == true
}

#[test]
fn an_image_that_a_qemu_has_open_for_writing_is_said_to_be_in_use() {
    let images = Images::new();
    images.qcow2("disk.qcow2");
    assert!(!in_use(&images, "disk.qcow2"));
    let qemu = Qemu::holding(&images, "");
    assert!(in_use(&images, "disk.qcow2"));
    let tree = images.accepted(&["disk.qcow2"]);
    assert!(tree.contains(", in use\n"), "{tree}");
    assert!(
        tree.contains("being written by another process: what is read may be inconsistent"),
        "{tree}"
    );
    drop(qemu);
    assert!(!in_use(&images, "disk.qcow2"));
}

#[test]
fn an_image_that_is_only_read_is_not_in_use() {
    let images = Images::new();
    images.qcow2("disk.qcow2");
    let _qemu = Qemu::holding(&images, ",read-only=on");
    assert!(!in_use(&images, "disk.qcow2"));
}
