//! The kill matrix: a server is ended at any instant, whatever it does then.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{connect, server, tool};
use crate::env::bivouac::children;
use crate::env::guests::guest;
use crate::env::random::Random;
use crate::env::residue::{alive, files, sha256};
use crate::env::wait::soon;

/// Longer than what is asked for takes on an idle machine.
const LONGEST: u64 = 1_000_000;

#[test]
fn nothing_is_left_at_whatever_instant_of_a_server() {
    let image = guest("box.raw");
    let before = sha256(&image);
    let mut random = Random::new();
    for round in 0..12 {
        // None: its input ends.
        let way = random.of(&[Some(Signal::SIGKILL), Some(Signal::SIGTERM), None]);
        let delay = Duration::from_micros(random.below(LONGEST));
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut client = connect(server(&[]).env("TMPDIR", dir.path()));
        // A third of the rounds end it while the first machine starts.
        if round % 3 != 0 {
            tool(&mut client, "start", json!({"image": "box.raw"}));
            tool(&mut client, "checkpoint", json!({"machine": "m1"}));
        }
        println!("{round}: {way:?} after {delay:?}");
        for (name, arguments) in [
            ("start", json!({"image": "box.raw"})),
            (
                "exec",
                json!({"machine": "m1", "command": "while :; do date > /f; sync; done"}),
            ),
            ("branch", json!({"checkpoint": "c1"})),
            ("diff", json!({"machine": "m1"})),
            ("revert", json!({"machine": "m1", "checkpoint": "c1"})),
        ] {
            client.send("tools/call", json!({"name": name, "arguments": arguments}));
        }
        std::thread::sleep(delay);
        let launcher = client.running.pid();
        let mut started = children(launcher);
        match way {
            Some(signal) => client.running.signal(signal),
            None => client.running.stdin = None,
        }
        started.extend(children(launcher));
        let finished = client.running.wait();
        let code = match way {
            Some(Signal::SIGTERM) => Some(143),
            Some(_) => None,
            None => Some(0),
        };
        assert_eq!(finished.code(), code, "{way:?} {delay:?}: {finished:?}");
        soon(&format!("no QEMU is left: {way:?} {delay:?}"), || {
            !started.iter().any(|pid| alive(*pid))
        });
        let left = files(&[dir.path()]);
        assert!(left.is_empty(), "{way:?} {delay:?}: {left:?}");
        fs::remove_dir(dir.path()).unwrap();
    }
    assert_eq!(sha256(&image), before);
}
