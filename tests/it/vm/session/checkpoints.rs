//! Machines of a session that are saved, branched and put back.

use nix::unistd::Pid;
use serde_json::json;

use super::{Client, small};
use crate::env::bivouac::children;
use crate::env::guests::guest;
use crate::env::residue::{alive, sha256};

#[test]
fn machines_are_branched_and_put_back_each_with_its_own_requests() {
    let before = sha256(&guest("box.raw"));
    for options in [&[][..], &["--warm"]] {
        let mut client = Client::start(small(options));
        client.tell(
            "m1",
            "echo early > /early; echo memory > /dev/shm-like; sync",
        );
        let waits = client.send("exec", json!({"argv": ["sleep", "1000"]}));
        let saved = client.call("checkpoint", json!({"sync": true}));
        assert!(saved["bytes"].as_u64().unwrap() > 1 << 20, "{saved}");
        assert!(saved["phases"]["checkpoint"].is_number(), "{saved}");
        let id = saved["checkpoint"].clone();
        assert_eq!(id, "c1");
        let branch = json!({"checkpoint": id, "hostname": "other"});
        assert_eq!(client.call("branch", branch)["machine"], "m2");
        assert_eq!(
            client.call("branch", json!({"checkpoint": id}))["machine"],
            "m3"
        );
        assert_eq!(client.tell("m2", "hostname"), "other\n");
        assert_ne!(client.tell("m3", "hostname"), "other\n");
        for machine in ["m1", "m2", "m3"] {
            client.tell(machine, &format!("echo {machine} > /who; sync"));
        }
        for machine in ["m1", "m2", "m3"] {
            assert_eq!(
                client.tell(machine, "cat /early /who"),
                format!("early\n{machine}\n")
            );
        }
        // A checkpoint of a branch outlives it.
        let later = client.call("checkpoint", json!({"machine": "m2"}))["checkpoint"].clone();
        client.call("stop", json!({"machine": "m2"}));
        assert_eq!(client.notified("machine-ended", "m2")["reason"], "stopped");
        let gone = client.refused("exec", json!({"machine": "m2", "argv": ["true"]}));
        assert_eq!(gone["data"]["kind"], "machine-ended");
        client.call("revert", json!({"machine": "m3", "checkpoint": later}));
        assert_eq!(client.tell("m3", "cat /who; hostname"), "m2\nother\n");
        // Requests that are open for a machine that is put back get to know.
        client.call("revert", json!({"checkpoint": id}));
        assert_eq!(client.answer(waits)["error"]["data"]["kind"], "interrupted");
        assert_eq!(
            client.tell("m1", "cat /early; ls / | grep -c who || :"),
            "early\n0\n"
        );
        client.call("release", json!({"checkpoint": id}));
        let gone = client.refused("branch", json!({"checkpoint": id}));
        assert_eq!(gone["data"]["kind"], "unknown");
        let qemus: Vec<Pid> = children(client.running.pid());
        assert_eq!(qemus.len(), 2, "{qemus:?}");
        let finished = client.end();
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        assert!(!qemus.into_iter().any(alive));
    }
    assert_eq!(sha256(&guest("box.raw")), before);
}

#[test]
fn the_disk_of_a_machine_is_kept_as_an_image_and_the_machine_goes_on() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = dir.path().join("kept.qcow2").display().to_string();
    let mut client = Client::start(small(&["--warm"]));
    client.tell("m1", "echo before > /f");
    client.call("checkpoint", json!({}));
    client.tell("m1", "echo later >> /f");
    let kept = client.call("keep", json!({"path": path}));
    let image = &kept["images"][0];
    assert_eq!(
        (&image["path"], &image["backing_format"]),
        (&json!(path), &json!("raw"))
    );
    assert!(
        image["backing"].as_str().unwrap().ends_with("box.raw"),
        "{kept}"
    );
    let again = client.refused("keep", json!({"path": path}));
    assert_eq!(again["data"]["hint"], "force replaces it");
    assert_eq!(
        client.tell("m1", "echo on >> /f; cat /f"),
        "before\nlater\non\n"
    );
    let branch = client.call("branch", json!({"checkpoint": "c1"}))["machine"].clone();
    let full = json!({"machine": branch, "path": path, "full": true, "force": true});
    assert!(client.call("keep", full)["images"][0]["backing"].is_null());
    assert_eq!(client.end().code(), Some(0));
    // What is kept is the branch's.
    let session = crate::env::bivouac::Bivouac::new().args(["session", "--inspect"]);
    let mut client = Client::start(session.arg(&path));
    assert_eq!(
        client.call("read", json!({"path": "/f"}))["data"],
        "before\n"
    );
    assert_eq!(client.end().code(), Some(0));
}

#[test]
fn what_a_branch_has_changed_is_shown_and_nothing_of_what_came_before() {
    let mut client = Client::start(small(&["--warm"]));
    client.tell("m1", "echo one > /old; echo one > /gone; mkdir /dir");
    client.call("checkpoint", json!({"sync": true}));
    let branch = client.call("branch", json!({"checkpoint": "c1"}))["machine"].clone();
    client.tell(
        "m2",
        "echo two >> /old; rm /gone; chmod 700 /dir; echo new > /dir/new",
    );
    let diff = client.call("diff", json!({"machine": branch, "content": true}));
    let changes = diff["changes"].as_array().unwrap();
    let found: Vec<_> = changes
        .iter()
        .map(|change| (&change["path"], &change["change"]))
        .collect();
    let expected = [
        ("/dir", "modified"),
        ("/dir/new", "added"),
        ("/gone", "removed"),
        ("/old", "modified"),
    ];
    let expected = expected.map(|(path, change)| (json!(path), json!(change)));
    assert_eq!(
        found,
        expected
            .iter()
            .map(|(path, change)| (path, change))
            .collect::<Vec<_>>()
    );
    assert_eq!(changes[0]["what"], json!(["mode"]));
    assert!(
        changes[3]["diff"].as_str().unwrap().contains("+two"),
        "{diff}"
    );
    // Both go on.
    for machine in ["m1", "m2"] {
        client.tell(machine, "echo on > /on; sync");
    }
    assert_eq!(client.end().code(), Some(0));
}
