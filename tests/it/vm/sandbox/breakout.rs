//! The attacks of a QEMU that was taken over, in every way of starting a machine, as an ordinary user
//! and as root. Without a sandbox they succeed.

use std::collections::BTreeMap;

use super::Victim;

/// What a machine needs, and everything else that may succeed.
const ALLOWED: [&str; 2] = ["self-signal", "overlay-write"];

/// The attempts and their results, from what bivouac quotes.
fn attempts(said: &str) -> BTreeMap<String, String> {
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

fn fact<'a>(said: &'a str, name: &str) -> &'a str {
    let line = said.lines().find_map(|line| {
        let line = line.trim_start_matches("QEMU said: ");
        line.strip_prefix(name)?.strip_prefix(' ')
    });
    line.unwrap_or_else(|| panic!("no {name} in {said}"))
}

const WAYS: [(&str, &[&str]); 3] = [
    (
        "run",
        &[
            "run",
            "--format",
            "raw",
            "--qemu",
            "bin/attacker",
            "bin/image",
        ],
    ),
    (
        "appliance",
        &[
            "cat",
            "--format",
            "raw",
            "--no-template",
            "--qemu",
            "bin/attacker",
            "bin/image:/x",
        ],
    ),
    (
        "restore",
        &[
            "cat",
            "-v",
            "--format",
            "raw",
            "--memory",
            "256M",
            "--qemu",
            "bin/restored",
            "--sandbox-read",
            "/usr",
            "bin/image:/x",
        ],
    ),
];

#[test]
fn a_qemu_that_was_taken_over_can_do_nothing() {
    for is_root in [false, true] {
        for (way, words) in WAYS {
            let victim = Victim::new(is_root);
            let output = victim.output("require", words);
            let said = String::from_utf8_lossy(&output.stderr);
            let attempts = attempts(&said);
            assert!(attempts.len() >= 35, "{way}: {said}");
            let allowed: Vec<_> = attempts
                .iter()
                .filter(|(name, result)| *result == "allowed" && !ALLOWED.contains(&&***name))
                .map(|(name, _)| name.as_str())
                // What it was given to read and execute.
                .filter(|name| way != "restore" || *name != "execute")
                .collect();
            assert!(
                allowed.is_empty(),
                "{way}, root {is_root}: {allowed:?}\n{said}"
            );
            assert_eq!(attempts["self-signal"], "allowed", "{way}: {said}");
            assert_eq!(attempts["overlay-write"], "allowed", "{way}: {said}");
            assert!(attempts.contains_key("layer-reopen"), "{way}: {said}");
            assert_eq!(fact(&said, "environment"), "1");
            assert_eq!(fact(&said, "capabilities"), "0");
            assert_eq!(fact(&said, "no-new-privileges"), "1");
            assert_eq!(fact(&said, "seccomp"), "2");
            if is_root {
                assert_eq!(fact(&said, "bounding"), "0");
                let uid: u32 = fact(&said, "uid").parse().unwrap();
                assert!(uid >= 1_900_000_000, "{uid}");
            }
            assert_eq!(std::fs::read(victim.path("bin/secret")).unwrap(), b"secret");
            assert!(!victim.path("bin/created").exists());
        }
    }
}

/// So that the test above can fail.
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
        let output = victim.output("off", WAYS[0].1);
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
