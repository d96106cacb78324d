//! A command that alone sees the image.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::filesystems::{filesystem, run, tree};
use crate::env::guests::guest;
use crate::env::residue::sha256;
use crate::env::wait::soon;

fn mount(words: &[&str]) -> Finished {
    let command = Bivouac::new().arg("mount").arg(guest("box.qcow2"));
    command.arg("--").args(words).output()
}

#[test]
fn the_command_has_the_place_in_its_words_and_in_a_variable_and_its_status_is_ours() {
    let before = sha256(&guest("box.qcow2"));
    let shown = mount(&["cat", "{}/etc/hostname"]);
    assert_eq!(
        (shown.code(), &shown.stdout[..]),
        (Some(0), "box\n"),
        "{shown:?}"
    );
    let line = "cat \"$BIVOUAC_MOUNT/etc/hostname\"; [ {} = \"$BIVOUAC_MOUNT\" ] && exit 7";
    let shown = mount(&["sh", "-c", line]);
    assert_eq!(
        (shown.code(), &shown.stdout[..]),
        (Some(7), "box\n"),
        "{shown:?}"
    );
    // A program of the image, which waits for answers before it runs.
    let ran = mount(&["{}/bin/busybox", "echo", "ran"]);
    assert_eq!((ran.code(), &ran.stdout[..]), (Some(0), "ran\n"), "{ran:?}");
    let killed = mount(&["sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.code(), Some(137), "{killed:?}");
    let missing = mount(&["no-such-program"]);
    assert_eq!(missing.code(), Some(127), "{missing:?}");
    assert!(missing.stderr.contains("no-such-program"), "{missing:?}");
    let no_program = mount(&["/etc/hostname"]);
    assert_eq!(no_program.code(), Some(126), "{no_program:?}");
    // What it leaves in the background ends with it.
    let left = mount(&["sh", "-c", "sleep 61234 & echo $BIVOUAC_MOUNT"]);
    assert_eq!(left.code(), Some(0), "{left:?}");
    assert!(!is_running("sleep\x0061234"), "{left:?}");
    let place = Path::new(left.stdout.trim());
    assert!(super::mounts(place).is_empty(), "{place:?}");
    assert_eq!(sha256(&guest("box.qcow2")), before);
}

/// Whether a process has these words.
fn is_running(words: &str) -> bool {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .any(|line| line.contains(words))
}

#[test]
fn ctrl_c_is_left_to_the_command_and_other_signals_end_everything() {
    let start = |line: &str| {
        let command = Bivouac::new().arg("mount").arg(guest("box.qcow2"));
        let mut running = command.args(["--", "sh", "-c", line]).start();
        running.wait_for("begun");
        running
    };
    let running =
        start("trap 'echo trapped; exit 9' USR1; echo begun; sleep 61235 & wait; echo on");
    running.signal(Signal::SIGINT);
    running.signal(Signal::SIGQUIT);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(is_running("sleep\x0061235"));
    running.signal(Signal::SIGTERM);
    let finished = running.wait();
    assert_eq!(finished.code(), Some(143), "{finished:?}");
    soon("the command is gone", || !is_running("sleep\x0061235"));
}

#[test]
fn what_this_host_lacks_is_told_with_a_hint() {
    let shell = |line: &str| {
        let image = guest("box.qcow2");
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", line, "sh"])
            .arg(env!("CARGO_BIN_EXE_bivouac"))
            .arg(image)
            .env("BIVOUAC_ACCEL", "tcg")
            .env(
                "XDG_CACHE_HOME",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
            )
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let no_device = "mount -t tmpfs none /mnt && mkdir /mnt/shm
        for name in null zero random urandom; do
            touch /mnt/$name; mount --bind /dev/$name /mnt/$name
        done
        mount --rbind /mnt /dev; \"$1\" mount \"$2\" -- true";
    let (status, said) = shell(no_device);
    assert_eq!(status, Some(125), "{said}");
    let no_helper =
        "PATH=/nowhere \"$1\" mount --qemu $(command -v qemu-system-x86_64) \"$2\" /tmp";
    let (status, told) = shell(no_helper);
    assert_eq!(status, Some(125), "{told}");
    let mut found = format!("{said}---\n{told}");
    found.retain(|letter| letter != '\r');
    insta::assert_snapshot!(found);
}

#[test]
fn a_file_whose_inode_is_damaged_is_told_and_the_others_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let files = tree(dir.path(), "tree", &[("bad", "bad"), ("good", "good\n")]);
    let options = ["-q", "-d", files.to_str().unwrap()];
    let image = filesystem(dir.path(), "image", 16, "mkfs.ext4", &options);
    let damage = ["-w", "-R", "set_inode_field /bad mode 0170000"];
    let path = image.to_str().unwrap();
    run("debugfs", &[&damage[..], &[path]].concat());
    let line = "ls $1 >/dev/null; cat $1/good; LC_ALL=C cat $1/bad";
    let command = Bivouac::new().args(["mount", path, "--", "sh", "-c", line]);
    let finished = command.args(["sh", "{}"]).output();
    assert_eq!(
        (finished.code(), &finished.stdout[..]),
        (Some(1), "good\n"),
        "{finished:?}"
    );
    for said in ["/bad\" cannot be read", "bad: Structure needs cleaning"] {
        assert!(finished.stderr.contains(said), "{finished:?}");
    }
}
