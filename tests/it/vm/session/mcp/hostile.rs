//! A client that asks for what it must not have, and a machine that does not do as it is told.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::{Client, connect, fails, server, tool};
use crate::env::bivouac::Bivouac;
use crate::env::guests::{guest, tiny};

#[test]
fn no_other_image_is_started_by_whatever_name() {
    let dir = tempfile::tempdir().unwrap();
    let (images, other) = (dir.path().join("images"), dir.path().join("other"));
    fs::create_dir(&images).unwrap();
    fs::create_dir(&other).unwrap();
    symlink(guest("box.raw"), images.join("link.raw")).unwrap();
    fs::copy(guest("box.raw"), images.join("box.raw")).unwrap();
    fs::write(other.join("secret.raw"), "secret").unwrap();
    let allowed = Bivouac::new()
        .arg("mcp")
        .arg("--warm")
        .args(tiny("switch"))
        .arg(&images);
    let mut client = connect(allowed);
    let listed = tool(&mut client, "images", json!({}));
    assert_eq!(listed["images"].as_array().unwrap().len(), 1, "{listed}");
    let secret = other.join("secret.raw").display().to_string();
    for name in [
        &secret,
        "../other/secret.raw",
        "link.raw",
        "/etc/passwd",
        "/dev/zero",
        ".",
        "",
    ] {
        let error = fails(&mut client, "start", json!({"image": name}));
        assert!(
            error.contains("no image") && error.contains("hint: images lists"),
            "{error}"
        );
    }
    // Links that come later lead nowhere either.
    symlink(&other, images.join("later")).unwrap();
    let error = fails(&mut client, "start", json!({"image": "later/secret.raw"}));
    assert!(error.contains("no image"), "{error}");
    tool(&mut client, "start", json!({"image": "box.raw"}));
    // There is no way to files of this host.
    for (name, arguments) in [
        (
            "write_file",
            json!({"machine": "m1", "path": "/x", "source": secret}),
        ),
        (
            "read_file",
            json!({"machine": "m1", "path": "/x", "target": secret}),
        ),
        (
            "start",
            json!({"image": "box.raw", "options": ["--net", "user"]}),
        ),
    ] {
        let error = fails(&mut client, name, arguments);
        assert!(error.contains("unknown field"), "{error}");
    }
    for method in ["keep", "get", "exec", "resources/read"] {
        let error = client.refused(method, json!({"path": secret}));
        assert_eq!(error["code"], -32601, "{error}");
    }
    let error = client.refused("tools/call", json!({"name": "keep", "arguments": {}}));
    assert_eq!(error["code"], -32602, "{error}");
}

#[test]
fn lines_that_are_no_requests_are_refused_and_the_next_ones_served() {
    let mut client: Client = connect(server(&[]));
    let lines = [
        "nonsense",
        "[]",
        "7",
        "null",
        "{}",
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":"y","method":"tools/call","params":{"name":7}}"#,
    ];
    for (count, line) in lines.iter().enumerate() {
        client.running.type_in(&format!("{line}\n"));
        client.running.wait_for_count("\"error\":", count + 1);
    }
    // These have no answer: answers, and notifications of any kind.
    for line in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"images"}}"#,
    ] {
        client.running.type_in(&format!("{line}\n"));
    }
    let long = format!("{{\"jsonrpc\": \"{}\"}}\n", "x".repeat(40 << 20));
    client.running.type_in(&long);
    client.running.wait_for_count("\"error\":", lines.len() + 1);
    let error = fails(
        &mut client,
        "start",
        json!({"image": "box.raw", "hostname": "-"}),
    );
    assert!(error.contains("hostname"), "{error}");
    assert_eq!(client.messages().len(), lines.len() + 3);
}

#[test]
fn a_machine_that_crashes_or_hangs_is_an_error_of_its_own_alone() {
    let mut client = connect(server(&[]));
    tool(&mut client, "start", json!({"image": "box.raw"}));
    tool(&mut client, "checkpoint", json!({"machine": "m1"}));
    let panics = json!({"machine": "m1", "command": "echo c > /proc/sysrq-trigger"});
    let error = fails(&mut client, "exec", panics);
    assert!(error.contains("panicked"), "{error}");
    let console = tool(&mut client, "console", json!({"machine": "m1"})).to_string();
    assert!(console.contains("sysrq triggered crash"), "{console}");
    tool(&mut client, "branch", json!({"checkpoint": "c1"}));
    // Its agent stands still.
    let stop = "kill -STOP $(cut -d' ' -f4 /proc/$$/stat)";
    let hangs = json!({"machine": "m2", "command": stop, "timeout": 1});
    let error = fails(&mut client, "exec", hangs);
    assert!(error.contains("time"), "{error}");
    tool(&mut client, "stop", json!({"machine": "m2"}));
    tool(&mut client, "branch", json!({"checkpoint": "c1"}));
    let told = tool(
        &mut client,
        "exec",
        json!({"machine": "m3", "command": "echo on"}),
    );
    assert_eq!(told["stdout"], "on\n");
    assert_eq!(client.end().code(), Some(0));
}
