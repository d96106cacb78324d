//! A guest whose boot has stopped for a person to hint it, under a command: nobody is there.

use std::path::{Path, PathBuf};

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::filesystems::run as tool;
use crate::env::guests::{guest, tiny};

/// The box, with one more line of its inittab.
fn image(dir: &Path, line: &str) -> PathBuf {
    let image = dir.join("image.raw");
    std::fs::copy(guest("box.raw"), &image).unwrap();
    let partition = format!("{}?offset=1048576", image.display());
    let inittab = dir.join("inittab");
    let dump = format!("dump /etc/inittab {}", inittab.display());
    tool("debugfs", &["-R", &dump, &partition]);
    let lines = std::fs::read_to_string(&inittab).unwrap();
    std::fs::write(&inittab, lines + line).unwrap();
    let write = format!("write {} /etc/inittab", inittab.display());
    for request in ["rm /etc/inittab", &write] {
        tool("debugfs", &["-w", "-R", request, &partition]);
    }
    image
}

fn run(image: &Path, via: &str) -> Finished {
    let mut running = Bivouac::run()
        .args(tiny("switch"))
        .args(["--boot-timeout", "600", "--via", via])
        .arg(image)
        .args(["--", "touch", "/ran"])
        .start();
    // Of which the QEMU guest agent gets the whole.
    running.stdin = None;
    running.wait()
}

#[test]
fn a_boot_that_waits_at_the_console_is_given_up_long_before_its_time_out() {
    let dir = tempfile::tempdir().unwrap();
    let line = "::once:/bin/sh -c 'printf \"no root\\n(initramfs) \" >/dev/ttyS0'\n";
    let finished = run(&image(dir.path(), line), "qga");
    assert_eq!(finished.code(), Some(122), "{finished:?}");
    let said = &finished.stderr;
    let words = "the guest did not boot: its initramfs stopped, with a shell";
    assert!(said.contains(words), "{finished:?}");
    assert!(
        said.contains("\n  no root\n  (initramfs)\n"),
        "{finished:?}"
    );
}

/// The agent says itself how it was started; what systemd starts it with, a test of the injection
/// tells.
#[test]
fn no_command_runs_in_emergency_mode() {
    let dir = tempfile::tempdir().unwrap();
    // Before the line that the injection adds, and init waits for it.
    let line = "::sysinit:/etc/bivouac/bivouac-agent --emergency\n";
    let finished = run(&image(dir.path(), line), "inject");
    assert_eq!(finished.code(), Some(122), "{finished:?}");
    let words = "the guest did not boot: its init is in emergency mode";
    assert!(finished.stderr.contains(words), "{finished:?}");
}
