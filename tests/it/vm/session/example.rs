//! The example of bivouac-session(5), in Python without a library, does what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::architecture::root;
use crate::env::guests::{guest, tiny};
use crate::env::wait;

/// The program in the page, as a reader sees it.
fn program() -> String {
    let page = fs::read_to_string(root().join("man/bivouac-session.5")).unwrap();
    let start = page.find("#!/usr/bin/env python3").unwrap();
    let end = start + page[start..].find("\n.Ed").unwrap();
    page[start..=end].replace("\\e", "\\")
}

#[test]
fn the_example_in_python_prepares_a_machine_and_tries_changes_in_branches() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("example.py");
    fs::write(&script, program()).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let bivouac = Path::new(env!("CARGO_BIN_EXE_bivouac")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(&script);
    command
        .args(tiny("switch"))
        .arg(guest("box.raw"))
        .env("PATH", format!("{}:{path}", bivouac.display()))
        .env("BIVOUAC_ACCEL", "tcg")
        .env(
            "XDG_CACHE_HOME",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
        );
    let output = wait::output(&mut command).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "echo one >> /etc/motd -> 0 prepared\none\n\n\
         rm /etc/motd -> 1 \n\
         before: prepared\n\n"
    );
}
