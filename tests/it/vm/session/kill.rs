//! The kill matrix: a session is ended at any instant, whatever it does then.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{Client, small};
use crate::env::bivouac::children;
use crate::env::guests::guest;
use crate::env::random::Random;
use crate::env::residue::{alive, files, sha256};
use crate::env::wait::soon;

/// Longer than what is asked for takes on an idle machine.
const LONGEST: u64 = 1_500_000;

/// How a session is ended.
#[derive(Clone, Copy, Debug)]
enum Way {
    Signal(Signal),
    /// By SIGTERM to all processes, the machines first.
    Job,
    /// Its input ends.
    Input,
    /// All of its machines die first.
    Machines,
}

#[test]
fn nothing_is_left_at_whatever_instant_of_a_session() {
    let image = guest("box.raw");
    let before = sha256(&image);
    let mut random = Random::new();
    for round in 0..30 {
        let way = random.of(&[
            Way::Signal(Signal::SIGKILL),
            Way::Signal(Signal::SIGKILL),
            Way::Signal(Signal::SIGTERM),
            Way::Job,
            Way::Input,
            Way::Machines,
        ]);
        let delay = Duration::from_micros(random.below(LONGEST));
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut client = Client::start(small(&["--warm"]).env("TMPDIR", dir.path()));
        // A third of the rounds end it while the first machine starts.
        if round % 3 != 0 {
            client.call("checkpoint", json!({}));
        }
        println!("{round}: {way:?} after {delay:?}");
        let writes = "while :; do head -c 100000 /dev/urandom > /f; sync; done";
        client.send(
            "exec",
            json!({"argv": ["sh", "-c", writes], "stream": true}),
        );
        client.send("put", json!({"path": "/g", "content": "x".repeat(1 << 20)}));
        client.send("checkpoint", json!({"sync": true}));
        client.send("branch", json!({"checkpoint": "c1"}));
        client.send("branch", json!({"checkpoint": "c1"}));
        client.send("revert", json!({"checkpoint": "c1"}));
        std::thread::sleep(delay);
        let launcher = client.running.pid();
        let mut started: Vec<Pid> = children(launcher);
        match way {
            Way::Signal(signal) => client.running.signal(signal),
            Way::Job => client.running.signal_job(Signal::SIGTERM),
            Way::Input => client.running.stdin = None,
            Way::Machines => {
                for pid in &started {
                    let _ = kill(*pid, Signal::SIGKILL);
                }
                client.running.stdin = None;
            }
        }
        started.extend(children(launcher));
        let finished = client.running.wait();
        let code = match way {
            Way::Signal(Signal::SIGTERM) | Way::Job => Some(143),
            Way::Signal(_) => None,
            Way::Input => Some(0),
            // The first machine may not have been ready.
            Way::Machines => finished
                .code()
                .filter(|code| [0, 122, 123, 125].contains(code)),
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
