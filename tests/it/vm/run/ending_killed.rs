//! Invariants "Nothing is left behind" and "Only what was asked for is kept": a run of a command whose
//! disk is kept or compared is ended at any instant.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::env::bivouac::{Bivouac, children};
use crate::env::guests::guest;
use crate::env::mount_ns::MountNs;
use crate::env::random::Random;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

const ROUNDS: u32 = 30;
const SCRIPT: &str = "echo changed >/etc/new; seq 100000 >/root/numbers; echo x >>/etc/hostname";

/// A warm run of a command in the box, which changes three files.
fn run(ns: &MountNs, option: &str) -> Bivouac {
    let append = "console=ttyS0 quiet no_timer_check bivouac.do=switch";
    ns.bivouac()
        .args(["run", "--warm", "--memory", "256M", "--cpus", "1"])
        .args(["--append", append])
        .args(["--kernel", &ns.inside("kept/tiny-kernel")])
        .args(["--initrd", &ns.inside("kept/tiny-initrd")])
        .arg(option)
        .arg(ns.inside("kept/box.raw"))
        .args(["--", "sh", "-c", SCRIPT])
}

/// Ends runs with `option` at any instant of one. `check` is told what the run has left in `work`, a file
/// or none, which it takes away.
fn rounds(option: &str, mut check: impl FnMut(&MountNs, Option<PathBuf>)) {
    let ns = MountNs::new();
    let image = ns.path("kept/box.raw");
    fs::copy(guest("box.raw"), &image).unwrap();
    let before = sha256(&image);
    let mut length = Duration::ZERO;
    // The first one builds the template.
    for _ in 0..2 {
        let start = Instant::now();
        let finished = run(&ns, option).output();
        length = start.elapsed();
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        check(&ns, Some(ns.path("work/out")));
    }
    let free = ns.free();
    let mut random = Random::new();
    for round in 0..ROUNDS {
        let signal = random.of(&[Signal::SIGKILL, Signal::SIGKILL, Signal::SIGTERM]);
        let wait = Duration::from_micros(random.below(length.as_micros() as u64));
        println!("{round}: {signal} after {wait:?} of {length:?}");
        let running = run(&ns, option).start();
        std::thread::sleep(wait);
        let mut qemus = children(running.pid());
        running.signal(signal);
        qemus.extend(children(running.pid()));
        running.wait();
        soon("every QEMU is gone", || {
            !qemus.iter().any(|qemu| alive(*qemu))
        });
        let out = ns.path("work/out");
        let left = ns.residue();
        let expected: BTreeSet<_> = left.iter().filter(|file| **file == out).cloned().collect();
        assert_eq!(left, expected, "round {round}");
        check(&ns, left.into_iter().next());
        soon("the space is given back", || ns.free() >= free);
    }
    assert_eq!(sha256(&image), before);
}

#[test]
fn nothing_is_left_of_a_command_that_is_killed_but_a_whole_image_whatever_the_instant() {
    let mut whole = 0;
    rounds("--keep=out", |ns, left| {
        let Some(path) = left else { return };
        ns.shell(&format!("qemu-img check -q {}", ns.inside("work/out")));
        fs::remove_file(path).unwrap();
        whole += 1;
    });
    println!("{whole} images were complete");
}

#[test]
fn nothing_is_left_of_a_command_that_is_killed_but_the_changes_seen_whatever_the_instant() {
    let mut all = None;
    rounds("--diff=out", |_, left| {
        let Some(path) = left else { return };
        let text = fs::read_to_string(&path).unwrap();
        let all = all.get_or_insert_with(|| text.clone());
        // It is opened first, and filled last. A command that a signal ended has changed less.
        assert!(all.contains("A /etc/new\n"), "{all}");
        let is_known = |line: &str| {
            all.split_inclusive('\n')
                .any(|known| known.starts_with(line))
        };
        assert!(text.split_inclusive('\n').all(is_known), "{text}");
        fs::remove_file(path).unwrap();
    });
}
