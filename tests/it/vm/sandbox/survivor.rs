//! A QEMU that gives up its parent-death signal, and everything else that could end it, when bivouac
//! is killed.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Victim;
use crate::env::bivouac::children;
use crate::env::wait::{patiently, soon};

/// With every way of starting a QEMU that lasts.
const WAYS: [&str; 4] = [
    "run --format raw --qemu bin/survivor bin/image",
    "run --net user --display vnc=:94 --format raw --qemu bin/survivor bin/image",
    "cat --format raw --no-template --qemu bin/survivor bin/image:/x",
    "cat --format raw --memory 256M --qemu bin/survivor-restored --sandbox-read /usr bin/image:/x",
];

/// Starts a machine and kills bivouac with SIGKILL once its QEMU has done what it could.
fn orphan(victim: &Victim, sandbox: &str, words: &str) -> Pid {
    let words: Vec<_> = words.split(' ').collect();
    let mut bivouac = victim.bivouac(sandbox, &words).spawn().unwrap();
    let parent = Pid::from_raw(bivouac.id() as i32);
    let mut survivor = None;
    patiently("QEMU has done what it could", || {
        let has_done = |pid: &Pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "orphan\n")
        };
        survivor = children(parent).into_iter().find(has_done);
        survivor.is_some()
    });
    bivouac.kill().unwrap();
    bivouac.wait().unwrap();
    survivor.unwrap()
}

fn is_alive(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let is_dead = |line: &str| line.starts_with("State:") && line.contains('Z');
    !status.is_empty() && !status.lines().any(is_dead)
}

#[test]
fn a_qemu_that_wants_to_survive_dies_with_bivouac() {
    for is_root in [false, true] {
        let victim = Victim::new(is_root);
        for words in WAYS {
            let pid = orphan(&victim, "require", words);
            soon("QEMU is dead", || !is_alive(pid));
        }
    }
}

/// So that the test above can fail.
#[test]
fn without_a_sandbox_it_survives() {
    for is_root in [false, true] {
        let victim = Victim::new(is_root);
        let pid = orphan(&victim, "off", WAYS[0]);
        std::thread::sleep(Duration::from_secs(1));
        assert!(is_alive(pid));
        kill(pid, Signal::SIGKILL).unwrap();
    }
}
