//! Layers on block devices, and what is opened as strace sees it.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::{Images, layers};

#[test]
fn a_block_device_is_a_raw_layer_of_the_devices_size() {
    let images = Images::new();
    images.raw("disk.raw");
    let device = LoopDevice::over(&images, "disk.raw");
    let json = images.json(&[&device.0]);
    assert_eq!(json["accepted"], true, "{json}");
    assert_eq!(json["layers"][0]["kind"], "block-device");
    assert_eq!(json["virtual_size"], 1 << 20);
    // A guest with a raw disk can write any header to it: then somebody has to say so.
    images.patch("disk.raw", 0, b"QFI\xfb\0\0\0\x03");
    drop(device);
    let device = LoopDevice::over(&images, "disk.raw");
    let text = images
        .refused(&[&device.0])
        .replace(&device.0, "/dev/loopN");
    insta::assert_snapshot!("header_on_device", text);
    assert_eq!(
        layers(&images.json(&[&device.0, "--format", "raw"])),
        ["raw flag"]
    );
}

#[test]
fn a_block_device_may_name_only_devices_of_its_own_directory() {
    let images = Images::new();
    images.raw("base.raw");
    let base = LoopDevice::over(&images, "base.raw");
    images.recording("top", &base.0, Some("raw"));
    // A file may name no device at all.
    let refused = images.refused(&["top"]);
    assert!(refused.contains("which is not followed: "), "{refused}");
    let hint = format!("--backing raw:{}", base.0);
    assert!(refused.contains(&hint), "{refused}");
    assert_eq!(
        images.json(&["top", "--trust-chain"])["layers"][1]["by"],
        "trusted"
    );
    let top = LoopDevice::over(&images, "top");
    let words = [top.0.as_str(), "--format", "qcow2"];
    let json = images.json(&words);
    assert_eq!(json["accepted"], true, "{json}");
    assert_eq!(json["layers"][1]["by"], "directory");
    drop(top);
    // As LVM names its volumes: links that lead out of the directory of the group.
    fs::create_dir(images.path("vg")).expect("a directory");
    let other = images.path("vg/base");
    symlink(&base.0, &other).expect("a link");
    images.recording("top", other.to_str().expect("UTF-8"), Some("raw"));
    let top = LoopDevice::over(&images, "top");
    symlink(&top.0, images.path("vg/top")).expect("a link");
    let json = images.json(&["vg/top", "--format", "qcow2"]);
    assert_eq!(json["layers"][1]["by"], "directory", "{json}");
    images.refused(&[&top.0, "--format", "qcow2"]);
}

/// A loop device, which only root may set up: by sudo(8) where the tests are not root's.
struct LoopDevice(String);

impl LoopDevice {
    fn over(images: &Images, name: &str) -> Self {
        let line =
            format!("$([ $(id -u) = 0 ] || echo sudo -n) losetup --find --show --read-only {name}");
        Self(images.shell(&line).trim().to_owned())
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let line = format!(
            "$([ $(id -u) = 0 ] || echo sudo -n) losetup --detach {}",
            self.0
        );
        let _ = Command::new("sh").args(["-c", &line]).status();
    }
}

#[test]
fn read_only_by_descriptor_as_strace_sees_it() {
    let images = Images::new();
    images.raw("base.raw");
    images.recording("mid.qcow2", "base.raw", Some("raw"));
    images.recording("top.qcow2", "mid.qcow2", Some("qcow2"));
    let program = env!("CARGO_BIN_EXE_bivouac");
    let line = format!("strace -f -e trace=open,openat,openat2 -o trace {program} chain top.qcow2");
    images.shell(&line);
    let trace = images.shell("cat trace");
    for name in ["top.qcow2", "mid.qcow2", "base.raw"] {
        let opened: Vec<&str> = trace.lines().filter(|line| line.contains(name)).collect();
        assert_eq!(opened.len(), 1, "{trace}");
        assert!(
            opened[0].contains("O_RDONLY|O_NOCTTY|O_NONBLOCK|O_CLOEXEC"),
            "{trace}"
        );
    }
    assert!(
        !trace.contains("O_WRONLY") && !trace.contains("O_RDWR"),
        "{trace}"
    );
}
