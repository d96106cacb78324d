//! What an inspection may take: of this host's disk, and of its user's patience.

use std::io::Read;
use std::process::Stdio;

use insta::assert_snapshot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::env::bivouac::{Bivouac, children};
use crate::env::guests::guest;

#[test]
fn a_copy_ends_at_its_limit_which_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let source = format!("{}:/bin", guest("box.qcow2").display());
    let copy = |limit: &str| {
        let run = Bivouac::new().args(["cp", "--max-copy", limit, &source]);
        run.arg(dir.path()).output()
    };
    let finished = copy("100K");
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    assert_snapshot!(finished.stderr, @r"
    bivouac: error: the guest sent more than --max-copy allows
      hint: a larger --max-copy; it is 16G by default
    ");
    let busybox = dir.path().join("bin/busybox");
    assert!(!busybox.exists(), "nothing is there in part");
    let finished = copy("100M");
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert!(busybox.exists());
}

/// It is stopped while the reader of standard output does not read, so that the file is not there yet.
/// What has come of it is written before bivouac ends, so it is read then.
#[test]
fn an_agent_that_does_not_answer_for_a_minute_ends_the_inspection() {
    let source = format!("{}:/bin/busybox", guest("box.qcow2").display());
    let command = Bivouac::new().args(["cat", "--timeout", "1h", &source]);
    let mut command = command.command();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut bivouac = command.spawn().unwrap();
    let mut output = bivouac.stdout.take().unwrap();
    output.read_exact(&mut [0; 1000]).unwrap();
    for child in children(Pid::from_raw(bivouac.id() as i32)) {
        kill(child, Signal::SIGSTOP).unwrap();
    }
    std::io::copy(&mut output, &mut std::io::sink()).unwrap();
    let finished = bivouac.wait_with_output().unwrap();
    assert_eq!(finished.status.code(), Some(122), "{finished:?}");
    assert_snapshot!(String::from_utf8_lossy(&finished.stderr), @"bivouac: error: no response from bivouac's agent within 60s");
}
