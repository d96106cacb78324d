//! The kill matrix: a session is ended at any instant, whatever it does then.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{Client, small};
use crate::env::bivouac::{Bivouac, children};
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
    at_any_instant(30, &[], |client, round| {
        // A third of the rounds end it while the first machine starts.
        if round % 3 != 0 {
            client.call("checkpoint", json!({}));
        }
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
    });
}

#[test]
fn nothing_is_left_at_whatever_instant_of_a_reboot_of_a_branch() {
    at_any_instant(10, &[], |client, _| {
        client.call("checkpoint", json!({}));
        client.call("branch", json!({"checkpoint": "c1"}));
        client.call("revert", json!({"checkpoint": "c1"}));
        for machine in ["m1", "m2"] {
            let reboot = json!({"machine": machine, "argv": ["reboot", "-f"]});
            client.send("exec", reboot);
            client.send("exec", json!({"machine": machine, "argv": ["sync"]}));
        }
    });
}

/// A name is that of a whole machine, or of none; what is half written is never used, and goes.
#[test]
fn a_machine_is_saved_whole_or_not_at_all_whatever_the_instant() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let here = |command: Bivouac| command.env("XDG_CACHE_HOME", dir.path());
    at_any_instant(10, &[("XDG_CACHE_HOME", dir.path())], |client, round| {
        client.call("checkpoint", json!({}));
        client.call("branch", json!({"checkpoint": "c1"}));
        client.tell("m2", &format!("echo {round} > /round; sync"));
        client.send("save", json!({"machine": "m2", "name": "one"}));
        client.send(
            "save",
            json!({"machine": "m1", "name": format!("m{round}")}),
        );
    });
    // What was left hinders nobody.
    let mut client = Client::start(here(small(&["--warm"])));
    client.call("save", json!({"name": "one"}));
    assert_eq!(client.end().code(), Some(0));
    let ls = here(Bivouac::new().args(["template", "ls", "--json"])).output();
    let all: serde_json::Value = serde_json::from_str(&ls.stdout).unwrap();
    let names = all["templates"].as_array().unwrap().iter();
    let names: Vec<_> = names.filter_map(|one| one["named"].as_str()).collect();
    println!("{names:?}");
    assert!(names.contains(&"one"), "{names:?}");
    for name in names {
        let run = Bivouac::run().args(["--from", name, "--", "true"]);
        let finished = here(run).output();
        assert_eq!(finished.code(), Some(0), "{name}: {finished:?}");
    }
    here(Bivouac::new().args(["template", "prune"])).output();
    let store = fs::read_dir(dir.path().join("bivouac/templates")).unwrap();
    let store = store.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let hidden: Vec<_> = store.filter(|name| name.starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

/// Ends sessions that do what `requests` asks for, each in a way and after a time of its own.
fn at_any_instant(
    rounds: usize,
    environment: &[(&str, &Path)],
    requests: impl Fn(&mut Client, usize),
) {
    let image = guest("box.raw");
    let before = sha256(&image);
    let mut random = Random::new();
    for round in 0..rounds {
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
        let session = small(&["--warm"]).env("TMPDIR", dir.path());
        let set = |session: Bivouac, (name, value): &(&str, &Path)| session.env(name, value);
        let mut client = Client::start(environment.iter().fold(session, set));
        println!("{round}: {way:?} after {delay:?}");
        requests(&mut client, round);
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
