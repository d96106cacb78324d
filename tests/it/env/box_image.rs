//! Images of the box guest that a test may change.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::guests::guest;

/// Where its only partition begins, in bytes.
const PARTITION: u64 = 1 << 20;

/// Copies the image of the box to `image`, with its holes.
pub fn copy(image: &Path) {
    let mut copy = Command::new("cp");
    copy.arg("--sparse=always").arg(guest("box.raw")).arg(image);
    assert!(copy.status().unwrap().success());
}

/// Writes files into /etc of an image, in the place of those that are there.
pub fn write_into_etc(image: &Path, files: &[(&str, &str)]) {
    let work = tempfile::tempdir().unwrap();
    let mut lines = "cd etc\n".to_owned();
    for (name, text) in files {
        fs::write(work.path().join(name), text).unwrap();
        lines += &format!("rm {name}\nwrite {name} {name}\n");
    }
    fs::write(work.path().join("lines"), lines).unwrap();
    let partition = format!("{}?offset={PARTITION}", image.display());
    let mut debugfs = Command::new("debugfs");
    debugfs.current_dir(work.path());
    let done = debugfs.args(["-w", "-f", "lines", &partition]).output();
    assert!(done.unwrap().status.success());
}
