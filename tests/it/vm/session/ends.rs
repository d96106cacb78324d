//! How machines and sessions end, and what a reboot means.

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Client, small};
use crate::env::residue::alive;

#[test]
fn a_guest_that_reboots_stays_the_sessions_and_open_requests_are_told() {
    let mut client = Client::start(small(&[]));
    client.tell("m1", "echo kept > /kept; sync; mkdir -p /run/x || :");
    let open = client.send("exec", json!({"argv": ["sleep", "1000"]}));
    let reboots = client.send("exec", json!({"argv": ["reboot", "-f"]}));
    for id in [open, reboots] {
        let error = client.answer(id)["error"].clone();
        assert_eq!(error["data"]["kind"], "interrupted", "{error}");
        assert_eq!(error["message"], "the guest rebooted");
    }
    assert_eq!(client.tell("m1", "cat /kept"), "kept\n");
    client.notified("machine-rebooted", "m1");
    assert_eq!(client.end().code(), Some(0));
}

#[test]
fn machines_that_end_are_told_of_and_the_others_go_on() {
    let mut client = Client::start(small(&[]));
    let saved = client.call("checkpoint", json!({}))["checkpoint"].clone();
    let ways = [
        ("m1", "poweroff -f", "powered-off", "the guest powered off"),
        (
            "m2",
            "echo c > /proc/sysrq-trigger",
            "crashed",
            "kernel panicked",
        ),
    ];
    for (machine, script, reason, text) in ways {
        if machine != "m1" {
            let branch = client.call("branch", json!({"checkpoint": saved}));
            assert_eq!(branch["machine"], machine);
        }
        let params = json!({"machine": machine, "argv": ["sh", "-c", script]});
        let error = client.refused("exec", params);
        assert_eq!(error["data"]["kind"], "machine-ended", "{error}");
        let ended = client.notified("machine-ended", machine);
        assert_eq!(ended["reason"], reason, "{ended}");
        assert!(ended["message"].as_str().unwrap().contains(text), "{ended}");
    }
    // The console outlasts its machine; that of a branch is its own.
    let console = client.call("console", json!({"machine": "m2"}))["lines"].to_string();
    assert!(console.contains("sysrq triggered crash"), "{console}");
    let console = client.call("console", json!({"machine": "m1"}))["lines"].to_string();
    assert!(!console.contains("crash"), "{console}");
    assert_eq!(
        client.call("branch", json!({"checkpoint": saved}))["machine"],
        "m3"
    );
    assert_eq!(client.tell("m3", "echo on"), "on\n");
    let qemu = client.running.qemu();
    nix::sys::signal::kill(qemu, Signal::SIGKILL).unwrap();
    assert_eq!(
        client.notified("machine-ended", "m3")["reason"],
        "qemu-died"
    );
    assert!(!alive(qemu));
    assert_eq!(client.end().code(), Some(0));
}

#[test]
fn a_session_ends_by_its_input_a_signal_or_its_time() {
    // While the machine boots, too.
    let mut client = Client::start(small(&[]));
    let qemu = client.running.qemu();
    let finished = client.end();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert!(!alive(qemu));
    let mut client = Client::start(small(&[]));
    client.tell("m1", "true");
    client.running.signal(Signal::SIGTERM);
    let finished = client.running.wait();
    assert_eq!(finished.code(), Some(143), "{finished:?}");
    let client = Client::start(small(&["--timeout", "1"]));
    let finished = client.running.wait();
    assert_eq!(finished.code(), Some(124), "{finished:?}");
}

#[test]
fn a_machine_that_does_not_start_ends_the_session_with_its_error() {
    let mut client = Client::start(small(&["--boot-timeout", "100ms"]));
    let open = client.send("exec", json!({"argv": ["true"]}));
    let error = client.answer(open)["error"].clone();
    assert_eq!(error["data"]["kind"], "machine-ended", "{error}");
    assert_eq!(
        client.notified("machine-ended", "m1")["reason"],
        "timed-out"
    );
    let finished = client.running.wait();
    assert_eq!(finished.code(), Some(124), "{finished:?}");
    assert!(
        finished.stderr.contains("did not answer within 0.1 s"),
        "{finished:?}"
    );
}
