//! What QEMU opens besides the images that were checked ends the machine before the guest runs.

use std::fs;
use std::path::Path;

use super::{ended, run_tiny};
use crate::env::images::qemu_img;
use crate::env::script::write_script;

/// The tiny guest on a QEMU that does `first`, and has `last` as its last arguments. The sandbox is
/// off: in it, opening would fail.
fn run(dir: &Path, first: &str, last: &str) -> crate::env::bivouac::Bivouac {
    let program = dir.join("qemu");
    let real = std::env::var("BIVOUAC_QEMU").unwrap_or("qemu-system-x86_64".into());
    write_script(&program, &format!("{first}\nexec {real} \"$@\" {last}"));
    let sandbox = ["--sandbox", "off"];
    let run = run_tiny("poweroff").args(sandbox);
    run.arg("--qemu").arg(program)
}

const SAID: &str = "which is none of the images that were checked";

#[test]
fn a_file_that_qemu_opens_by_a_header_changed_meanwhile_ends_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let [image, hostile, secret] =
        ["image.qcow2", "hostile.qcow2", "secret"].map(|name| dir.path().join(name));
    let names = format!("data_file={},data_file_raw=on", secret.display());
    let create = |options: &str, image: &Path| {
        let image = image.to_str().unwrap();
        qemu_img(
            &["create", "-q", "-f", "qcow2", "-o", options, image, "1M"],
            &[],
        );
    };
    create(&names, &hostile);
    create("compat=1.1", &image);
    let change = format!("cat {} > {}", hostile.display(), image.display());
    let finished = run(dir.path(), &change, "")
        .arg("--disk")
        .arg(&image)
        .output();
    ended(&finished, 125);
    assert!(finished.stderr.contains(SAID), "{finished:?}");
    assert!(finished.stderr.contains("secret"), "{finished:?}");
}

#[test]
fn whatever_else_qemu_opens_ends_the_machine_unless_the_user_asked_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, [7; 1 << 20]).unwrap();
    let node = format!(
        "driver=file,filename={},node-name=x,read-only=on",
        secret.display()
    );
    let finished = run(dir.path(), "", &format!("-blockdev {node}")).output();
    ended(&finished, 125);
    assert!(finished.stderr.contains(SAID), "{finished:?}");
    let asked = ["--qemu-arg", "-blockdev", "--qemu-arg", &node];
    let finished = run(dir.path(), "", "").args(asked).output();
    ended(&finished, 0);
}
