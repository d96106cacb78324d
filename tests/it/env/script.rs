//! Programs made for a test.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes an executable shell script. A program of its own does it: were the file open for
/// writing here, a process that another test forks meanwhile would hold it open as well, and
/// the script could not be executed ("text file busy").
pub fn write_script(path: &Path, text: &str) {
    let mut install = Command::new("install")
        .args(["-m", "755", "/dev/stdin"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("install of coreutils runs");
    let mut stdin = install.stdin.take().expect("its input");
    write!(stdin, "#!/bin/sh\n{text}\n").expect("a write");
    drop(stdin);
    assert!(install.wait().expect("an end").success());
}
