//! `bivouac mcp`: what a client of the Model Context Protocol gets.

mod hostile;
mod kill;
mod tools;

use serde_json::{Value, json};

use super::Client;
use crate::env::bivouac::Bivouac;
use crate::env::guests::{guest, tiny};

/// A server that may start the box, with `options`.
fn server(options: &[&str]) -> Bivouac {
    let server = Bivouac::new().arg("mcp").arg("--warm").args(tiny("switch"));
    server.args(options).arg(guest("box.raw"))
}

/// A client that has shaken hands.
fn connect(server: Bivouac) -> Client {
    let mut client = Client::start(server);
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
                        "clientInfo": {"name": "test", "version": "1"}});
    let result = client.call("initialize", params);
    assert_eq!(result["protocolVersion"], "2025-06-18");
    assert_eq!(result["serverInfo"]["name"], "bivouac");
    assert!(result["capabilities"]["tools"].is_object(), "{result}");
    notify(&mut client, "notifications/initialized", json!({}));
    client
}

/// Sends a notification of the client.
fn notify(client: &mut Client, method: &str, params: Value) {
    let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
    client.running.type_in(&format!("{message}\n"));
}

/// The result of a tool that must succeed.
#[track_caller]
fn tool(client: &mut Client, name: &str, arguments: Value) -> Value {
    let result = client.call("tools/call", json!({"name": name, "arguments": arguments}));
    assert_eq!(result["isError"], false, "{name}: {result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    let result = result["structuredContent"].clone();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), result);
    result
}

/// The text of a tool that must fail.
#[track_caller]
fn fails(client: &mut Client, name: &str, arguments: Value) -> String {
    let result = client.call("tools/call", json!({"name": name, "arguments": arguments}));
    assert_eq!(result["isError"], true, "{name}: {result}");
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

/// The standard output of a command that succeeds.
#[track_caller]
fn tell(client: &mut Client, machine: &str, command: &str) -> String {
    let result = tool(
        client,
        "exec",
        json!({"machine": machine, "command": command}),
    );
    assert_eq!(result["status"], 0, "{command}: {result}");
    result["stdout"].as_str().unwrap().to_owned()
}
