//! A guest whose agent floods, lies or stalls: errors for its machine, and the others go on.

use serde_json::json;

use super::{Client, small};

/// Takes the agent's place, and sends what `what` writes.
fn takes_over(what: &str) -> String {
    let port = "port=/dev/$(basename $(dirname $(grep -l bivouac /sys/class/virtio-ports/*/name)))";
    format!("{port}; (sleep 1; kill -9 $PPID; sleep 1; {what} >$port) >/dev/null 2>&1 &")
}

#[test]
fn a_hostile_agent_fails_the_requests_of_its_machine_alone() {
    let mut client = Client::start(small(&["--warm"]));
    client.tell("m1", "echo here > /file");
    let saved = client.call("checkpoint", json!({}))["checkpoint"].clone();
    for (machine, what) in [("m2", "cat /dev/zero"), ("m3", "yes bivouac.wire")] {
        assert_eq!(
            client.call("branch", json!({"checkpoint": saved}))["machine"],
            machine
        );
        let script = takes_over(what);
        client.send(
            "exec",
            json!({"machine": machine, "argv": ["sh", "-c", script]}),
        );
        // What is not a frame ends the machine.
        let open = client.send(
            "exec",
            json!({"machine": machine, "argv": ["sleep", "1000"]}),
        );
        let error = client.answer(open)["error"].clone();
        assert_eq!(error["data"]["kind"], "machine-ended", "{error}");
        let ended = client.notified("machine-ended", machine);
        assert_eq!(ended["reason"], "crashed", "{ended}");
        let message = ended["message"].as_str().unwrap();
        assert!(message.contains("the guest broke the protocol"), "{ended}");
    }
    // One that says nothing more: only the limits of requests end them.
    assert_eq!(
        client.call("branch", json!({"checkpoint": saved}))["machine"],
        "m4"
    );
    let stop = "kill -STOP $(cut -d' ' -f4 /proc/$$/stat)";
    client.send("exec", json!({"machine": "m4", "argv": ["sh", "-c", stop]}));
    let asks = json!({"machine": "m4", "path": "/", "timeout": 2});
    loop {
        let id = client.send("stat", asks.clone());
        if client.answer(id)["error"]["data"]["kind"] == "timed-out" {
            break;
        }
    }
    let stalled = [
        (
            "put",
            json!({"machine": "m4", "path": "/x", "content": "x", "timeout": 2}),
        ),
        (
            "checkpoint",
            json!({"machine": "m4", "sync": true, "timeout": 2}),
        ),
    ];
    for (method, params) in stalled {
        let error = client.refused(method, params);
        assert_eq!(error["data"]["kind"], "timed-out", "{method}: {error}");
    }
    client.call("stop", json!({"machine": "m4"}));
    // More output than anybody asked for is dropped here, and costs no memory.
    let flood = "yes | head -c 200000000; yes | head -c 100000000 >&2";
    let result = client.call("exec", json!({"argv": ["sh", "-c", flood], "limit": 10}));
    assert_eq!(
        (&result["stdout"], &result["truncated"]),
        (&json!("y\ny\ny\ny\ny\n"), &json!(true))
    );
    let status = format!("/proc/{}/status", client.running.pid());
    let status = std::fs::read_to_string(status).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 200 << 10, "{peak} kB");
    assert_eq!(client.tell("m1", "cat /file"), "here\n");
    assert_eq!(client.end().code(), Some(0));
}
