//! Machines that are saved under a name while they run, and sessions that begin with one.

use std::path::Path;

use serde_json::json;

use super::{Client, small};
use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;
use crate::env::qemu10;
use crate::env::residue::sha256;

fn from(name: &str, cache: &Path) -> Bivouac {
    let session = Bivouac::new().args(["session", "--from", name]);
    session.env("XDG_CACHE_HOME", cache)
}

/// A command that counts in a file in memory, without end, and does not hold the request.
const COUNTER: &str = "(i=0; while :; do i=$((i+1)); echo $i >/dev/count; usleep 20000; done) \
     >/dev/null 2>&1 &";

fn saved_and_started_again(options: &[&str]) {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (cache, disk) = (dir.path().join("cache"), dir.path().join("second.raw"));
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let images = [guest("box.raw"), disk.clone()];
    let before = images.each_ref().map(|image| sha256(image));
    let second = format!("--disk={}", disk.display());
    let session = small(&[&[&*second], options].concat()).env("XDG_CACHE_HOME", &cache);
    // How QEMU is confined is no part of a machine.
    let is_read = |option: &&str| *option == "--sandbox-read";
    let at = options.iter().position(is_read);
    let sandbox = at.map_or(&[][..], |at| &options[at..at + 2]);
    let mut client = Client::start(session);
    client.tell(
        "m1",
        &format!("echo one > /f; echo one > /dev/vdb; {COUNTER}"),
    );
    let saved = client.call("save", json!({"name": "first"}));
    assert_eq!(saved["template"].as_str().unwrap().len(), 32, "{saved}");
    assert!(saved["phases"]["saved"].is_number(), "{saved}");
    // The machine goes on; a branch of it is saved, too, with the layers of both.
    client.tell("m1", "echo two >> /f; sync");
    client.call("checkpoint", json!({}));
    client.call("branch", json!({"checkpoint": "c1"}));
    client.tell("m2", "echo branch >> /f; echo branch > /dev/vdb; sync");
    client.call("save", json!({"machine": "m2", "name": "second"}));
    let refused = client.refused("save", json!({"name": "../x"}));
    assert_eq!(refused["data"]["kind"], "invalid-params", "{refused}");
    assert_eq!(client.tell("m1", "cat /f"), "one\ntwo\n");
    assert_eq!(client.end().code(), Some(0));

    let read = "cat /f; head -n 1 /dev/vdb; \
         n=$(cat /dev/count); while [ \"$(cat /dev/count)\" = $n ]; do usleep 10000; done";
    for (name, held) in [
        ("first", "one\none\n"),
        ("second", "one\ntwo\nbranch\nbranch\n"),
    ] {
        let mut client = Client::start(from(name, &cache).args(sandbox));
        assert_eq!(client.tell("m1", read), held, "{name}");
        // It is a machine as any other: it reboots, is branched, and saved under the same name.
        client.tell("m1", "echo again >> /f; sync");
        client.send("exec", json!({"argv": ["reboot", "-f"]}));
        client.notified("machine-rebooted", "m1");
        assert_eq!(
            client.tell("m1", "tail -n 1 /f; ls /dev | grep -c count || :"),
            "again\n0\n"
        );
        client.call("save", json!({"name": name}));
        assert_eq!(client.end().code(), Some(0));
        let run = Bivouac::run().args(["--from", name]).args(sandbox);
        let run = run.args(["--", "tail", "-n", "1", "/f"]);
        let finished = run.env("XDG_CACHE_HOME", &cache).output();
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        assert_eq!(finished.stdout, "again\n");
    }
    assert_eq!(images.each_ref().map(|image| sha256(image)), before);
}

#[test]
fn a_running_machine_is_saved_under_a_name_and_started_from_it() {
    saved_and_started_again(&[]);
}

#[test]
fn a_restored_machine_is_saved_by_qemu_10() {
    let qemu10 = qemu10::options();
    let mut options = vec!["--warm", "--net", "user"];
    options.extend(qemu10.iter().map(String::as_str));
    saved_and_started_again(&options);
}

#[test]
fn a_session_begins_after_its_steps_which_are_done_once() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let number = "--prepare=cat /proc/sys/kernel/random/uuid > /number; sync";
    let mut told = Vec::new();
    for _ in 0..2 {
        let session = small(&[number]).env("XDG_CACHE_HOME", dir.path());
        let mut client = Client::start(session);
        told.push(client.tell("m1", "cat /number"));
        assert_eq!(client.end().code(), Some(0));
    }
    assert_eq!(told[0], told[1]);
    let refused = Bivouac::new().args(["session", "--inspect", number]);
    let refused = refused.arg(guest("box.raw")).output();
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("--prepare is for an image that boots"),
        "{refused:?}"
    );
    let unknown = from("nobody", dir.path()).output();
    assert_eq!(unknown.code(), Some(125), "{unknown:?}");
    assert!(
        unknown
            .stderr
            .contains("no machine was saved under the name \"nobody\""),
        "{unknown:?}"
    );
}
