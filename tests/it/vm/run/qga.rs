//! `--via qga`: the QEMU guest agent itself, taken out of Debian's image and started by the box's
//! own init; and an image where it never answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::filesystems::{disk, filesystem, run as tool};
use crate::env::guests::{guest, tiny};
use crate::env::residue::sha256;

/// The agent finds its port by a name that udev gives; here there is none.
const INITTAB: &str = "::respawn:/bin/sh -c 'for port in /sys/class/virtio-ports/*; do \
    grep -q guest_agent $port/name && exec /usr/sbin/qemu-ga -t /run \
    -p /dev/$(basename $port) 2>/dev/null; done; sleep 1'\n";

/// Unpacks the agent and the libraries that it needs.
fn agent(root: &Path) {
    let script = "tar -chf - /usr/sbin/qemu-ga $(ldd /usr/sbin/qemu-ga | grep -o '/[^ ]*')";
    let mut packing = Bivouac::new()
        .arg("chroot")
        .arg(guest("debian12.qcow2"))
        .args(["--", "sh", "-c", script])
        .command()
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let unpacked = Command::new("tar")
        .args(["-xf", "-", "-C"])
        .arg(root)
        .stdin(packing.stdout.take().unwrap())
        .status()
        .unwrap();
    assert!(unpacked.success() && packing.wait().unwrap().success());
}

/// The box, with the agent.
fn image(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    fs::create_dir(&root).unwrap();
    let debugfs = format!("rdump / {}", root.display());
    let partition = format!("{}?offset=1048576", guest("box.raw").display());
    tool("debugfs", &["-R", &debugfs, &partition]);
    agent(&root);
    let inittab = root.join("etc/inittab");
    let lines = fs::read_to_string(&inittab).unwrap();
    fs::write(inittab, lines + INITTAB).unwrap();
    let options = ["-q", "-d", root.to_str().unwrap()];
    let system = filesystem(dir, "system", 62, "mkfs.ext4", &options);
    let script = "label: gpt\nstart=1MiB, size=62MiB, type=L\n";
    disk(dir, "image", 64, script, &[(1, &system)])
}

fn run(image: &Path, options: &[&str], command: &[&str], input: &str) -> Finished {
    let mut running = Bivouac::run()
        .args(tiny("switch"))
        .args(["--via", "qga"])
        .args(options)
        .arg(image)
        .arg("--")
        .args(command)
        .start();
    running.type_in(input);
    running.stdin = None;
    running.wait()
}

#[test]
fn the_qemu_guest_agent_runs_a_command_with_its_streams_and_status() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path());
    let before = sha256(&image);

    let script = "cat; echo \"$A\"; echo err >&2; exit 7";
    let finished = run(
        &image,
        &["--env", "A=b c"],
        &["/bin/sh", "-c", script],
        "typed\n",
    );
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    assert_eq!(finished.stdout, "typed\nb c\n");
    assert_eq!(finished.stderr, "err\n");

    let finished = run(&image, &[], &["no-such-program"], "");
    assert_eq!(finished.code(), Some(127), "{finished:?}");
    assert!(finished.stderr.contains("no-such-program"), "{finished:?}");
    assert_eq!(sha256(&image), before);
}

#[test]
fn an_image_whose_qemu_guest_agent_never_answers_is_told_apart() {
    let options = ["--boot-timeout", "4"];
    let finished = run(&guest("box.qcow2"), &options, &["true"], "");
    assert_eq!(finished.code(), Some(124), "{finished:?}");
    let said = &finished.stderr;
    let expected = "the QEMU guest agent did not answer within 4 s";
    assert!(said.contains(expected), "{finished:?}");
    let hint = "hint: a longer --boot-timeout, or an image that has";
    assert!(said.contains(hint), "{finished:?}");
}
