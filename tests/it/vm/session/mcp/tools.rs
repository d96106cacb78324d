//! The tools, as a model uses them.

use serde_json::json;

use super::{Client, connect, fails, notify, server, tell, tool};
use crate::env::bivouac::children;
use crate::env::guests::guest;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

#[test]
fn a_client_runs_saves_breaks_and_puts_back_a_machine() {
    let before = sha256(&guest("box.raw"));
    let mut client = connect(server(&[]));
    let listed = client.call("tools/list", json!({}));
    let names: Vec<_> = (listed["tools"].as_array().unwrap().iter())
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"start") && names.contains(&"revert"),
        "{names:?}"
    );
    let images = tool(&mut client, "images", json!({}));
    let image = images["images"][0]["image"].clone();
    assert_eq!(image, guest("box.raw").display().to_string());
    let started = tool(
        &mut client,
        "start",
        json!({"image": "box.raw", "hostname": "first"}),
    );
    assert_eq!(started["machine"], "m1");
    assert_eq!(tell(&mut client, "m1", "hostname; id -u"), "first\n0\n");
    let written = json!({"machine": "m1", "path": "/srv/a", "content": "one\n", "mode": "0600"});
    tool(&mut client, "write_file", written);
    let read = tool(
        &mut client,
        "read_file",
        json!({"machine": "m1", "path": "/srv/a"}),
    );
    assert_eq!(read, json!({"content": "one\n", "next": 4, "eof": true}));
    let saved = tool(&mut client, "checkpoint", json!({"machine": "m1"}));
    assert_eq!(saved["checkpoint"], "c1");
    tell(
        &mut client,
        "m1",
        "rm -rf /etc; echo two > /srv/a; printf '\\377' > /raw",
    );
    let raw = tool(
        &mut client,
        "read_file",
        json!({"machine": "m1", "path": "/raw"}),
    );
    assert_eq!(raw["base64"], "/w==");
    let diff = tool(
        &mut client,
        "diff",
        json!({"machine": "m1", "content": true}),
    );
    let text = diff.to_string();
    assert!(
        text.contains("+two") && text.contains("\"/etc/passwd\""),
        "{text}"
    );
    let branched = tool(&mut client, "branch", json!({"checkpoint": "c1"}));
    assert_eq!(branched["machine"], "m2");
    tool(
        &mut client,
        "revert",
        json!({"machine": "m1", "checkpoint": "c1"}),
    );
    for machine in ["m1", "m2"] {
        assert_eq!(
            tell(&mut client, machine, "cat /srv/a; wc -l < /etc/passwd"),
            "one\n2\n"
        );
    }
    let listed = tool(
        &mut client,
        "list_directory",
        json!({"machine": "m2", "path": "/srv"}),
    );
    let file = json!({"name": "a", "type": "file", "size": 4, "uid": 0, "gid": 0, "mode": "0600"});
    assert_eq!(listed, json!({"entries": [file], "truncated": false}));
    tell(&mut client, "m2", "echo last words > /dev/ttyS0");
    let console = tool(&mut client, "console", json!({"machine": "m2"}));
    assert!(console.to_string().contains("last words"), "{console}");
    tool(&mut client, "stop", json!({"machine": "m2"}));
    let status = tool(&mut client, "status", json!({}));
    let machines = json!([
        {"machine": "m1", "from": image, "ended": false},
        {"machine": "m2", "from": "c1", "ended": true},
    ]);
    assert_eq!(status["machines"], machines);
    assert_eq!(
        status["checkpoints"],
        json!([{"checkpoint": "c1", "of": "m1"}])
    );
    tool(&mut client, "release", json!({"checkpoint": "c1"}));
    let gone = fails(&mut client, "branch", json!({"checkpoint": "c1"}));
    assert!(gone.contains("no checkpoint"), "{gone}");
    assert_eq!(client.end().code(), Some(0));
    assert_eq!(sha256(&guest("box.raw")), before);
}

#[test]
fn machines_checkpoints_and_output_are_limited_and_that_is_said() {
    let mut client = connect(server(&["--max-machines", "2", "--max-checkpoints", "1"]));
    tool(&mut client, "start", json!({"image": "box.raw"}));
    tool(&mut client, "checkpoint", json!({"machine": "m1"}));
    let full = fails(&mut client, "checkpoint", json!({"machine": "m1"}));
    assert_eq!(full, "there are 1 checkpoints already\nhint: release one");
    tool(&mut client, "branch", json!({"checkpoint": "c1"}));
    for (name, arguments) in [
        ("branch", json!({"checkpoint": "c1"})),
        ("start", json!({"image": "box.raw"})),
    ] {
        let full = fails(&mut client, name, arguments);
        assert_eq!(full, "2 machines run already\nhint: stop one of them");
    }
    tool(&mut client, "stop", json!({"machine": "m1"}));
    tool(&mut client, "branch", json!({"checkpoint": "c1"}));
    let much = json!({"machine": "m2", "command": "head -c 100000 /dev/zero | tr '\\0' x"});
    let result = tool(&mut client, "exec", much);
    assert_eq!(result["stdout"].as_str().unwrap().len(), 32 << 10);
    assert_eq!(result["truncated"], true);
    // Out of range.
    for (name, arguments) in [
        (
            "exec",
            json!({"machine": "m2", "command": "true", "limit": 1 << 20}),
        ),
        (
            "exec",
            json!({"machine": "m2", "command": "true", "timeout": 1e6}),
        ),
        (
            "read_file",
            json!({"machine": "m2", "path": "/etc/passwd", "limit": 1 << 20}),
        ),
        (
            "list_directory",
            json!({"machine": "m2", "path": "/", "limit": 100_000}),
        ),
        ("diff", json!({"machine": "m2", "limit": 100_000})),
    ] {
        let error = fails(&mut client, name, arguments);
        assert!(error.contains(" is at most "), "{error}");
    }
    let result = tool(
        &mut client,
        "exec",
        json!({"machine": "m2", "command": "sleep 1000", "timeout": 0.5}),
    );
    assert_eq!(
        (&result["timed_out"], &result["status"]),
        (&json!(true), &json!(137))
    );
    let none = tell(&mut client, "m2", "ls /sys/class/net");
    assert_eq!(none, "lo\n", "a machine has a network");
}

#[test]
fn what_is_cancelled_is_given_up_and_not_answered() {
    let mut client = connect(server(&[]));
    tool(&mut client, "start", json!({"image": "box.raw"}));
    let sleeps =
        json!({"name": "exec", "arguments": {"machine": "m1", "command": "exec sleep 4321"}});
    let open = client.send("tools/call", sleeps);
    let count = "ps | grep -c '[s]leep 4321' || :";
    soon("the command runs", || {
        tell(&mut client, "m1", count) == "1\n"
    });
    notify(
        &mut client,
        "notifications/cancelled",
        json!({"requestId": open}),
    );
    soon("the command is killed", || {
        tell(&mut client, "m1", count) == "0\n"
    });
    // A machine that starts.
    let launcher = client.running.pid();
    let before = children(launcher);
    let starts = json!({"name": "start", "arguments": {"image": "box.raw"}});
    let starting = client.send("tools/call", starts);
    soon("a QEMU is started", || {
        children(launcher).len() > before.len()
    });
    notify(
        &mut client,
        "notifications/cancelled",
        json!({"requestId": starting}),
    );
    let mut started = children(launcher);
    started.retain(|pid| !before.contains(pid));
    soon("it has ended", || !started.iter().any(|pid| alive(*pid)));
    client.call("ping", json!({}));
    let answered = |id| client.messages().iter().any(|message| message["id"] == id);
    assert!(!answered(open) && !answered(starting));
    notify(
        &mut client,
        "notifications/cancelled",
        json!({"requestId": "unknown"}),
    );
    assert_eq!(tell(&mut client, "m1", "echo on"), "on\n");
}

#[test]
fn the_version_is_negotiated_and_initialize_comes_first() {
    let mut client = Client::start(server(&[]));
    let early = client.refused("tools/list", json!({}));
    assert!(
        early["message"].as_str().unwrap().contains("initialize"),
        "{early}"
    );
    client.call("ping", json!({}));
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let listed = client.call("tools/list", json!({"_meta": meta}));
    assert!(listed["tools"].as_array().unwrap().len() > 10, "{listed}");
    for (wanted, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let result = client.call("initialize", json!({"protocolVersion": wanted}));
        assert_eq!(result["protocolVersion"], agreed);
    }
    // By the version of 2026-07-28, each request says so.
    let meta = |version: &str| json!({"io.modelcontextprotocol/protocolVersion": version});
    let found = client.call("server/discover", json!({"_meta": meta("2026-07-28")}));
    assert_eq!(found["supportedVersions"][0], "2026-07-28");
    assert_eq!(found["resultType"], "complete");
    let error = client.refused("tools/list", json!({"_meta": meta("2031-01-01")}));
    assert_eq!(error["code"], -32022);
    assert_eq!(error["data"]["supported"], found["supportedVersions"]);
    client.running.type_in(
        "[{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"ping\"},\
          {\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"},\
          {\"jsonrpc\":\"2.0\",\"id\":\"b\",\"method\":\"nothing\"}]\n",
    );
    client.running.wait_for("]\n");
    let batch = client.find(serde_json::Value::is_array);
    assert_eq!(batch[0], json!({"jsonrpc": "2.0", "id": "a", "result": {}}));
    assert_eq!(
        (batch[1]["id"].as_str(), &batch[1]["error"]["code"]),
        (Some("b"), &json!(-32601))
    );
}
