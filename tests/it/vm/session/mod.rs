//! `bivouac session`: what a client gets of the machines that it holds.

mod checkpoints;
mod commands;
mod ends;
mod example;
mod files;
mod hostile;
mod inspected;
mod kill;
mod mcp;
mod reboots;
mod saved;

use serde_json::{Value, json};

use crate::env::bivouac::{Bivouac, Finished, Running};
use crate::env::guests::{guest, tiny};
use crate::env::wait::soon;

/// A client that sends requests and waits for their answers.
struct Client {
    running: Running,
    last: u64,
}

/// A session with the small guest, from an image that any number of machines may use.
fn small(options: &[&str]) -> Bivouac {
    let session = Bivouac::new().arg("session").arg(guest("box.raw"));
    session.args(tiny("switch")).args(options)
}

impl Client {
    fn start(session: Bivouac) -> Self {
        Self {
            running: session.start(),
            last: 0,
        }
    }

    /// Sends a request, and returns its id.
    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        let request =
            json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params});
        self.running.type_in(&format!("{request}\n"));
        self.last
    }

    /// Every message so far.
    fn messages(&self) -> Vec<Value> {
        let said = self.running.console();
        let complete = said.rsplit_once('\n').map_or("", |(complete, _)| complete);
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        complete.lines().map(parse).collect()
    }

    /// The answer to a request.
    fn answer(&mut self, id: u64) -> Value {
        self.running.wait_for(&format!("\"id\":{id},"));
        self.find(|message| message["id"] == id)
    }

    /// The message that is there, or is coming.
    fn find(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        soon("the message is whole", || {
            found = self.messages().into_iter().find(&is_it);
            found.is_some()
        });
        found.unwrap()
    }

    /// The result of a request that must succeed.
    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let answer = self.answer(id);
        assert_eq!(answer["error"], Value::Null, "{method}: {answer}");
        answer["result"].clone()
    }

    /// The error of a request that must fail.
    #[track_caller]
    fn refused(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let answer = self.answer(id);
        assert_eq!(answer["result"], Value::Null, "{method}: {answer}");
        answer["error"].clone()
    }

    /// The output of a script that succeeds in a machine.
    #[track_caller]
    fn tell(&mut self, machine: &str, script: &str) -> String {
        let params = json!({"machine": machine, "argv": ["sh", "-c", script]});
        let result = self.call("exec", params);
        assert_eq!(result["status"], 0, "{script}: {result}");
        result["stdout"].as_str().unwrap().to_owned()
    }

    /// Waits for a notification about a machine.
    fn notified(&mut self, method: &str, machine: &str) -> Value {
        self.running.wait_for(&format!("\"method\":\"{method}\""));
        let message = self
            .find(|message| message["method"] == method && message["params"]["machine"] == machine);
        message["params"].clone()
    }

    /// Ends the input.
    fn end(mut self) -> Finished {
        self.running.stdin = None;
        self.running.wait()
    }
}
