//! The attacks of a program that reads an image on another host, and was taken over by its server.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::Victim;
use super::breakout::{attempts, fact};

/// `bivouac run --remote URL` with the attacker in the place of the reader. What it was allowed, and all
/// that was said.
fn attacked(victim: &Victim, sandbox: &str, url: &str) -> (BTreeSet<String>, String) {
    let path = format!("{}:/usr/bin:/bin", victim.path("bin").display());
    let words = ["run", "--remote", "--format", "raw", url];
    let mut bivouac = victim.bivouac(sandbox, &words);
    let output = bivouac.env("PATH", path).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    // Its first line follows the name.
    let said = said.replacen(&format!("{url:?}: "), "\n", 1);
    let attempts = attempts(&said);
    assert!(attempts.len() >= 35, "{said}");
    let allowed = attempts
        .into_iter()
        .filter(|(_, result)| result == "allowed");
    (allowed.map(|(name, _)| name).collect(), said)
}

#[test]
fn a_reader_may_connect_to_its_server_and_do_nothing_else() {
    for is_root in [false, true] {
        let victim = Victim::new(is_root);
        let reader = victim.path("bin/qemu-storage-daemon");
        symlink("attacker", &reader).unwrap();
        let socket = victim.path("socket");
        let _listening = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        let unix = format!("nbd+unix:///x?socket={}", socket.display());
        // Sockets, which Landlock lets connect to the port of the URL alone.
        let tcp: &[&str] = &["internet", "self-signal", "tcp"];
        for (url, expected) in [
            ("nbd://127.0.0.1:1/x", tcp),
            ("http://127.0.0.1:1/x", tcp),
            (&unix, &["self-signal"]),
        ] {
            let (allowed, said) = attacked(&victim, "require", url);
            let allowed: Vec<_> = allowed.iter().map(String::as_str).collect();
            assert_eq!(allowed, expected, "{url}, root {is_root}: {said}");
            assert_eq!(fact(&said, "environment"), "1");
            assert_eq!(fact(&said, "capabilities"), "0");
            assert_eq!(fact(&said, "no-new-privileges"), "1");
            if is_root {
                let uid: u32 = fact(&said, "uid").parse().unwrap();
                assert!(uid >= 1_900_000_000, "{uid}");
            }
        }
        assert_eq!(fs::read(victim.path("bin/secret")).unwrap(), b"secret");
        // So that this can fail.
        let (allowed, said) = attacked(&victim, "off", "nbd://127.0.0.1:1/x");
        for name in ["secret-read", "tcp-connect", "unix-socket", "fork"] {
            assert!(allowed.contains(name), "{name}: {said}");
        }
    }
}
