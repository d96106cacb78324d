//! The kill matrix: bivouac or one of its QEMUs is ended at any instant of a checkpoint, a branch or a
//! revert.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Driver, small};
use crate::env::bivouac::children;
use crate::env::guests::guest;
use crate::env::random::Random;
use crate::env::residue::{alive, files, sha256};
use crate::env::wait::soon;

const LINES: [&str; 3] = ["checkpoint one b", "branch a two", "revert one a"];

/// Longer than each of them takes on an idle machine.
const LONGEST: u64 = 600_000;

#[test]
fn nothing_is_left_at_whatever_instant_of_a_checkpoint_branch_or_revert() {
    let image = guest("box.raw");
    let before = sha256(&image);
    let mut random = Random::new();
    for round in 0..30 {
        let line = LINES[round % LINES.len()];
        let kills_qemu = round % 5 == 4;
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let command = small(&["--warm"]).env("TMPDIR", dir.path());
        let mut driver = Driver::start(command);
        driver.done("checkpoint root a");
        driver.done("branch a one");
        let delay = Duration::from_micros(random.below(LONGEST));
        println!("{round}: {line}, {delay:?}, kills_qemu: {kills_qemu}");
        let launcher = driver.running.pid();
        let one = driver.qemu("one");
        driver.running.type_in(&format!("{line}\n"));
        std::thread::sleep(delay);
        let mut started: Vec<Pid> = children(launcher);
        if kills_qemu {
            // It may have been put back already, and ended so.
            let _ = kill(one, Signal::SIGKILL);
            // What it was told fails, or was done before; the others go on.
            driver.answer();
            started.extend(children(launcher));
            assert_eq!(driver.exec("root", "echo on"), "on\n");
            driver.done("branch a three");
            assert_eq!(driver.exec("three", "echo on"), "on\n");
            driver.end();
        } else {
            kill(launcher, random.of(&[Signal::SIGKILL, Signal::SIGTERM])).unwrap();
            started.extend(children(launcher));
            driver.running.wait();
        }
        soon(&format!("no QEMU is left: {line} {delay:?}"), || {
            !started.iter().any(|pid| alive(*pid))
        });
        let left = files(&[dir.path()]);
        assert!(left.is_empty(), "{line} {delay:?}: {left:?}");
        fs::remove_dir(dir.path()).unwrap();
    }
    assert_eq!(sha256(&image), before);
}
