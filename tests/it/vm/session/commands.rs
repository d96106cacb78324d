//! Commands in a machine that is held: streams, signals, terminals, limits, and mistakes.

use serde_json::{Value, json};

use super::{Client, small};
use crate::env::guests::guest;
use crate::env::residue::{alive, sha256};

fn sh(script: &str) -> Value {
    json!({"argv": ["sh", "-c", script]})
}

/// The same with further parameters.
fn sh_with(script: &str, more: Value) -> Value {
    let mut params = sh(script);
    let more = more.as_object().unwrap().clone();
    params.as_object_mut().unwrap().extend(more);
    params
}

#[test]
fn commands_have_their_streams_and_status_and_reach_each_other_in_one_machine() {
    let before = sha256(&guest("box.raw"));
    let mut client = Client::start(small(&[]));
    whole_output(&mut client);
    streams(&mut client);
    many_at_a_time(&mut client);
    mistakes(&mut client);
    let qemu = client.running.qemu();
    // Open requests do not keep the session at the end of its input.
    client.send("exec", sh("sleep 1000"));
    let finished = client.end();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(finished.stderr, "");
    assert!(!alive(qemu));
    assert_eq!(sha256(&guest("box.raw")), before);
}

fn whole_output(client: &mut Client) {
    let script = "echo $A; pwd; id -u; echo err >&2; exit 3";
    let more = json!({"env": {"A": "a b"}, "cwd": "/tmp", "user": "7:8"});
    let result = client.call("exec", sh_with(script, more));
    assert_eq!(
        result,
        json!({"status": 3, "stdout": "a b\n/tmp\n7\n", "stderr": "err\n",
               "truncated": false, "timed_out": false})
    );
    assert_eq!(client.notified("machine-ready", "m1")["protocol"], 1);
    let bytes = json!({"argv": ["cat"], "stdin": {"base64": "/wA="}});
    assert_eq!(
        client.call("exec", bytes)["stdout"],
        json!({"base64": "/wA="})
    );
    // The flag ADDR_NO_RANDOMIZE: QEMU need not translate a program again each time it runs.
    let flags = client.call("exec", sh("cat /proc/self/personality"));
    assert_eq!(flags["stdout"], "00040000\n");
    let result = client.call("exec", sh_with("printf 123456", json!({"limit": 4})));
    assert_eq!(
        (&result["stdout"], &result["truncated"]),
        (&json!("1234"), &json!(true))
    );
    let result = client.call(
        "exec",
        sh_with("echo a; sleep 1000", json!({"timeout": 0.5})),
    );
    assert_eq!(
        (&result["status"], &result["signal"]),
        (&json!(137), &json!(9))
    );
    assert_eq!(
        (&result["stdout"], &result["timed_out"]),
        (&json!("a\n"), &json!(true))
    );
}

fn streams(client: &mut Client) {
    let script = "read a; echo got $a; read b || echo end; echo listening >&2; exec sleep 1000";
    let more = json!({"open_stdin": true, "stream": true});
    let exec = client.send("exec", sh_with(script, more));
    client.call("write", json!({"exec": exec, "data": "on"}));
    client.call("write", json!({"exec": exec, "data": "e\n", "eof": true}));
    client.running.wait_for("listening");
    let closed = client.refused("write", json!({"exec": exec, "data": "x"}));
    assert_eq!(closed["data"]["kind"], "refused");
    client.call("signal", json!({"exec": exec, "signal": "TERM"}));
    let result = client.answer(exec)["result"].clone();
    assert_eq!(
        (&result["status"], &result["signal"]),
        (&json!(143), &json!(15))
    );
    assert_eq!(
        (&result["stdout"], &result["truncated"]),
        (&Value::Null, &json!(false))
    );
    let of_stream = |name: &str| -> String {
        let messages = client.messages();
        let outputs = messages
            .iter()
            .filter(|message| message["method"] == "output" && message["params"]["stream"] == name);
        outputs
            .map(|message| message["params"]["data"].as_str().unwrap())
            .collect()
    };
    assert_eq!(of_stream("stdout"), "got one\nend\n");
    assert_eq!(of_stream("stderr"), "listening\n");
}

fn many_at_a_time(client: &mut Client) {
    let first = client.send(
        "exec",
        sh("until test -e /tmp/go; do sleep 0.1; done; echo first"),
    );
    let others: Vec<_> = (0..10)
        .map(|n| client.send("exec", sh(&format!("echo {n}"))))
        .collect();
    for (n, id) in others.into_iter().enumerate() {
        assert_eq!(client.answer(id)["result"]["stdout"], format!("{n}\n"));
    }
    client.tell("m1", "touch /tmp/go");
    assert_eq!(client.answer(first)["result"]["stdout"], "first\n");
}

fn mistakes(client: &mut Client) {
    let wrong = [
        ("exce", sh("true"), -32601, "no method \"exce\""),
        ("exec", json!({}), -32602, "missing field `argv`"),
        (
            "exec",
            sh_with("true", json!({"usr": "root"})),
            -32602,
            "unknown field `usr`",
        ),
        (
            "exec",
            sh_with("true", json!({"user": "nobody-here"})),
            -32001,
            "no user",
        ),
        (
            "exec",
            sh_with("true", json!({"cwd": "/missing"})),
            -32001,
            "/missing",
        ),
        (
            "exec",
            sh_with("true", json!({"limit": 1_u64 << 40})),
            -32005,
            "at most",
        ),
        (
            "exec",
            sh_with("true", json!({"machine": "m7"})),
            -32004,
            "no machine \"m7\"",
        ),
        (
            "exec",
            json!({"argv": ["missing"]}),
            -32001,
            "not found in the guest",
        ),
        (
            "exec",
            json!({"argv": ["/etc"]}),
            -32001,
            "cannot be executed",
        ),
        (
            "signal",
            json!({"exec": 9999, "signal": "TERM"}),
            -32004,
            "no command of this id",
        ),
        ("stat", json!({"path": "etc"}), -32602, "path is absolute"),
        (
            "branch",
            json!({"checkpoint": "c9"}),
            -32004,
            "no checkpoint \"c9\"",
        ),
    ];
    for (method, params, code, text) in wrong {
        let error = client.refused(method, params);
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(text), "{error}");
    }
    client.running.type_in("nonsense\n[]\n");
    client.running.wait_for("batches are not supported");
    let messages = client.messages();
    let without_id = messages
        .iter()
        .filter(|message| message.get("id") == Some(&Value::Null));
    let codes: Vec<_> = without_id
        .map(|message| message["error"]["code"].clone())
        .collect();
    assert_eq!(codes, [json!(-32700), json!(-32600)]);
}
