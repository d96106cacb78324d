//! The attacks of a QEMU that was taken over, in every way of starting a machine, as an ordinary user
//! and as root. Without a sandbox they succeed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::Victim;
use crate::env::qemu10;

/// The attempts and their results, from what bivouac quotes.
pub(super) fn attempts(said: &str) -> BTreeMap<String, String> {
    let lines = said
        .lines()
        .map(|line| line.trim_start_matches("QEMU said: "));
    let words = lines.filter_map(|line| line.trim().split_once(' '));
    let is_result = |result: &str| result == "allowed" || result.starts_with('E');
    let mut found = BTreeMap::<String, String>::new();
    for (name, result) in words.filter(|(name, result)| is_result(result) && !name.ends_with(':')) {
        // Of several attempts of one sort, one that is allowed counts.
        let known = found.entry(name.to_owned()).or_default();
        if known != "allowed" {
            result.clone_into(known);
        }
    }
    found
}

pub(super) fn fact<'a>(said: &'a str, name: &str) -> &'a str {
    let line = said.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("QEMU said: ");
        line.strip_prefix(name)?.strip_prefix(' ')
    });
    line.unwrap_or_else(|| panic!("no {name} in {said}"))
}

/// What the sandbox allows besides, as the options say.
const INTERNET: &[&str] = &[
    "internet",
    "multipath",
    "tcp",
    "tcp-connect",
    "tcp-fast-open",
    "tcp-bind",
];

/// A way to start a machine with the attacker.
struct Way {
    name: &'static str,
    words: &'static str,
    allowed: &'static [&'static str],
    /// Nobody else can open what QEMU consists of.
    only_for_root: bool,
}

const fn way(name: &'static str, words: &'static str) -> Way {
    Way {
        name,
        words,
        allowed: &[],
        only_for_root: false,
    }
}

/// What is restored was saved by the real QEMU, which needs its files to be read and executed.
const RESTORE: &str = "cat -v --format raw --memory 256M --qemu bin/restored \
    --sandbox-read /usr bin/image:/x";
const RUN: &str = "run --format raw --qemu bin/attacker bin/image";

const WAYS: [Way; 9] = [
    way("run", RUN),
    way(
        "kernel",
        "run --kernel bin/tiny-kernel --initrd bin/tiny-initrd --format raw --qemu bin/attacker bin/image",
    ),
    Way {
        allowed: INTERNET,
        ..way(
            "network",
            "run --net user --publish 9999:80 --format raw --qemu bin/attacker bin/image",
        )
    },
    Way {
        allowed: &["tcp", "tcp-bind"],
        ..way(
            "port",
            "run --publish 9999:80 --format raw --qemu bin/attacker bin/image",
        )
    },
    Way {
        allowed: &["tcp"],
        ..way(
            "vnc",
            "run --display vnc=:93 --format raw --qemu bin/attacker bin/image",
        )
    },
    way(
        "vnc socket",
        "run --display vnc=unix:vnc --format raw --qemu bin/attacker bin/image",
    ),
    way(
        "appliance",
        "cat --format raw --no-template --qemu bin/attacker bin/image:/x",
    ),
    way("restore", RESTORE),
    way(
        "warm",
        "run --warm --memory 256M --cpus 1 --kernel bin/tiny-kernel --initrd bin/tiny-initrd \
             --append bivouac.do=switch --qemu bin/restored --sandbox-read /usr bin/box.raw -- true",
    ),
];

#[test]
fn a_qemu_that_was_taken_over_can_do_nothing() {
    for is_root in [false, true] {
        for way in WAYS {
            let victim = Victim::new(is_root);
            check(&victim, &way);
        }
    }
}

/// Its descriptor of a template's memory is for reading only. Everyone can read this copy of it.
#[test]
fn a_qemu_10_that_was_taken_over_can_do_nothing() {
    for is_root in [false, true] {
        let victim = Victim::new(is_root);
        let program = qemu10::copy_to(&victim.path("qemu10"));
        check_restored_by(&victim, &program, &["restore", "warm"], false);
    }
}

/// It stays root, without capabilities: nobody else can read what it consists of.
#[test]
fn a_qemu_that_only_root_can_reach_can_do_nothing_either() {
    let victim = Victim::new(true);
    let program = qemu10::copy_to(&victim.path("qemu10"));
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(victim.path("qemu10"), closed).unwrap();
    check_restored_by(&victim, &program, &["restore"], true);
}

/// [`check`] with machines that another QEMU has saved.
#[track_caller]
fn check_restored_by(victim: &Victim, program: &Path, names: &[&str], only_for_root: bool) {
    fs::remove_file(victim.path("bin/qemu")).unwrap();
    symlink(program, victim.path("bin/qemu")).unwrap();
    let read = format!(
        "--sandbox-read {} --sandbox-read",
        program.parent().unwrap().display()
    );
    for way in WAYS.into_iter().filter(|way| names.contains(&way.name)) {
        let words = way.words.replace("--sandbox-read", &read).leak();
        check(
            victim,
            &Way {
                words,
                only_for_root,
                ..way
            },
        );
    }
}

#[track_caller]
fn check(victim: &Victim, way: &Way) {
    let (name, is_root) = (way.name, victim.is_root);
    let words: Vec<_> = way.words.split_whitespace().collect();
    let output = victim.output("require", &words);
    let said = String::from_utf8_lossy(&output.stderr);
    let attempts = attempts(&said);
    assert!(attempts.len() >= 39, "{name}: {said}");
    // What a QEMU that is restored was given to execute became another program.
    assert_eq!(!attempts.contains_key("execute"), words.contains(&"/usr"));
    let expected = ["self-signal", "overlay-write"].iter().chain(way.allowed);
    let expected: BTreeSet<_> = expected.copied().collect();
    let allowed = attempts.iter().filter(|(_, result)| *result == "allowed");
    let allowed: BTreeSet<_> = allowed.map(|(name, _)| name.as_str()).collect();
    assert_eq!(allowed, expected, "{name}, root {is_root}: {said}");
    assert!(attempts.contains_key("layer-reopen"), "{name}: {said}");
    assert_eq!(fact(&said, "environment"), "1");
    assert_eq!(fact(&said, "capabilities"), "0");
    assert_eq!(fact(&said, "no-new-privileges"), "1");
    assert_eq!(fact(&said, "seccomp"), "2");
    if is_root {
        assert_eq!(fact(&said, "bounding"), "0");
        let uid: u32 = fact(&said, "uid").parse().unwrap();
        assert!(uid >= 1_900_000_000 || way.only_for_root, "{uid}");
    }
    assert_eq!(fs::read(victim.path("bin/secret")).unwrap(), b"secret");
    assert!(!victim.path("bin/created").exists());
}

/// The end of its output is in the verdict.
#[test]
fn a_probe_of_qemu_confines_it_too() {
    for is_root in [false, true] {
        for (sandbox, is_confined) in [("require", true), ("off", false)] {
            let victim = Victim::new(is_root);
            let output = victim.output(sandbox, &["doctor", "--qemu", "bin/attacker"]);
            let said = String::from_utf8_lossy(&output.stdout);
            let confined = "tcp-bind EACCES; fork EPERM; execute EACCES";
            assert_eq!(said.contains(confined), is_confined, "{said}");
            let truncated = fs::read(victim.path("bin/truncated")).unwrap();
            assert_eq!(truncated.is_empty(), !is_confined);
            assert_eq!(victim.path("bin/created").exists(), !is_confined);
        }
    }
}

/// So that the tests above can fail.
#[test]
fn without_a_sandbox_the_same_attacks_succeed() {
    let everyone = [
        "secret-read",
        "image-read",
        "image-write",
        "layer-reopen",
        "directory-list",
        "root-list",
        "file-create",
        "passwd-read",
        "launcher-environment",
        "launcher-signal",
        "launcher-pidfd",
        "launcher-trace",
        "death-signal",
        "keyring",
        "message-queue",
        "mode-change",
        "time-change",
        "link",
        "unlink",
        "directory-create",
        "directory-remove",
        "truncate",
        "internet",
        "tcp",
        "tcp-connect",
        "tcp-fast-open",
        "tcp-bind",
        "unix-socket",
        "netlink",
        "fork",
        "self-signal",
        "overlay-write",
    ];
    let root = [
        "new-namespace",
        "filesystem-open",
        "change-root",
        "library-write",
    ];
    for is_root in [false, true] {
        let victim = Victim::new(is_root);
        let output = victim.output("off", &RUN.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr);
        let attempts = attempts(&said);
        for name in everyone.iter().chain(root.iter().filter(|_| is_root)) {
            assert_eq!(
                attempts.get(*name).map(String::as_str),
                Some("allowed"),
                "{name}: {said}"
            );
        }
        // It became the other program.
        assert!(!attempts.contains_key("execute"), "{said}");
    }
}
