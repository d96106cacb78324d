//! Disk images and devices made for a test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `qemu-img` with `options`, then `files`.
pub fn qemu_img(options: &[&str], files: &[&Path]) {
    let output = Command::new("qemu-img")
        .args(options)
        .args(files)
        .output()
        .expect("qemu-img");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A chain of three over `base`, which is raw, in `dir`; its files, top first. Its names are
/// relative, as people make them.
pub fn chain_of_three(dir: &Path, base: &Path) -> Vec<PathBuf> {
    let [top, middle, bottom] =
        ["top", "middle", "bottom"].map(|name| dir.join(format!("{name}.qcow2")));
    qemu_img(&["convert", "-O", "qcow2"], &[base, &bottom]);
    let on = |backing: &str, image: &Path| {
        let output = Command::new("qemu-img")
            .current_dir(dir)
            .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing])
            .arg(image)
            .output()
            .expect("qemu-img");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    on("bottom.qcow2", &middle);
    on("middle.qcow2", &top);
    vec![top, middle, bottom]
}

/// A loop device over a file, read-only, taken away with the test. Needs root.
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    pub fn of(file: &Path) -> Self {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .expect("losetup");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self(String::from_utf8(output.stdout).unwrap().trim().into())
    }

    pub fn path(&self) -> &PathBuf {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .status();
    }
}
