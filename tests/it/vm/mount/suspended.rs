//! A mount whose bivouac is suspended while many read from it, as by Ctrl-Z or on a busy host: it goes on
//! where it was. What the agent has sent meanwhile fills all the memory in which it leaves data.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Mounted;
use crate::env::filesystems::{filesystem, run, tree};

const FILES: usize = 24;
const BYTES: usize = 3 << 20;

#[test]
fn readers_of_a_mount_go_on_after_it_was_suspended() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<(String, String)> = (0..FILES)
        .map(|file| (file.to_string(), format!("{file:16}").repeat(BYTES / 16)))
        .collect();
    let files: Vec<_> = (files.iter())
        .map(|(path, text)| (&path[..], &text[..]))
        .collect();
    let made = tree(dir.path(), "tree", &files);
    let made = made.to_str().unwrap();
    let image = filesystem(dir.path(), "image", 128, "mkfs.ext4", &["-q", "-d", made]);
    let sums = run("sh", &["-c", "cd \"$1\"; sha256sum *", "sh", made]);
    let sums_file = dir.path().join("sums");
    std::fs::write(&sums_file, sums).unwrap();

    let mount = Mounted::new(&image, &[]);
    let line = "cd \"$1\"; xargs -a \"$2\" -d '\\n' -P 12 -I {} sh -c 'echo \"$1\" | sha256sum --quiet -c' sh {}";
    let mut readers = Command::new("sh")
        .args(["-c", line, "sh"])
        .arg(mount.place.path())
        .arg(&sums_file)
        .spawn()
        .unwrap();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(200));
        mount.running.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(300));
        mount.running.signal(Signal::SIGCONT);
    }
    assert!(readers.wait().unwrap().success());
    assert_eq!(mount.end().code(), Some(0));
}
