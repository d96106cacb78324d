//! A client of the QEMU guest agent, for images that have it and into which bivouac's own agent cannot
//! be put. It runs commands. The agent collects their output and returns it at the end, so there are
//! no signals, no terminal and no streams while a command runs.
//!
//! Everything the guest returns is untrusted: lines are limited in length and in structure.

use std::time::Duration;

use qapi::qga::{
    GuestExecCaptureOutput, GuestExecStatus, guest_exec, guest_exec_status, guest_sync_delimited,
};
use serde_json::Value;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{sleep, timeout};

use crate::qmp::codec::{self, Lines, Message};
use crate::text::escape::Untrusted;

pub const PORT: &str = "org.qemu.guest_agent.0";

/// The longest line accepted, in bytes: the agent collects up to 16 MiB of each output
/// (qga/commands.c, GUEST_EXEC_MAX_OUTPUT) and sends it in base64.
const LINE_MAX: usize = 64 << 20;

/// How many commas, colons and brackets a line may have. The agent's replies have about ten.
const PARTS_MAX: usize = 4096;

/// The largest standard input of a command, in bytes: it is sent in one message.
pub const INPUT_MAX: u64 = 8 << 20;

/// How often `guest-sync-delimited` is repeated until the agent replies.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// The first and the longest pause between two requests for the state of a command.
const STATUS_INTERVAL: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(500));

/// Why the agent did not run a command.
#[derive(Debug, Error)]
pub enum QgaError {
    #[error("the channel to the QEMU guest agent")]
    Channel(#[from] std::io::Error),
    #[error("the QEMU guest agent closed its channel")]
    Closed,
    #[error("the QEMU guest agent sent a malformed reply to {0}")]
    Malformed(&'static str),
    #[error("the QEMU guest agent: {}", Untrusted(.0))]
    Refused(String),
}

#[derive(Clone, Debug, Default)]
pub struct Command {
    pub argv: Vec<String>,
    /// Its environment, `K=V`; the agent's if empty.
    pub env: Vec<String>,
    pub input: Vec<u8>,
}

pub struct Qga {
    lines: Lines<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Qga {
    /// Waits until the agent replies. There is no time limit: drop the future to give up.
    pub async fn connect(stream: UnixStream) -> Result<Self, QgaError> {
        let (read, write) = stream.into_split();
        let mut this = Self {
            lines: Lines::new(read, LINE_MAX),
            write,
        };
        // A number that no stale reply has.
        let mut id = i64::from(std::process::id()) << 20 | 0xb1;
        loop {
            id += 1;
            let synced = timeout(SYNC_INTERVAL, this.sync(id)).await;
            if let Ok(synced) = synced {
                return synced.map(|()| this);
            }
        }
    }

    /// The agent's parser drops everything before the byte 0xff, and sends it before its reply.
    async fn sync(&mut self, id: i64) -> Result<(), QgaError> {
        let command = codec::encode(guest_sync_delimited { id }, None)?;
        self.write
            .write_all(&[&[0xff], &command[..]].concat())
            .await?;
        loop {
            let line = self.line().await?;
            let reply = line.rsplit(|byte| *byte == 0xff).next().and_then(parse);
            if reply.is_some_and(|reply| reply.is_ok_and(|value| value == id)) {
                return Ok(());
            }
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, QgaError> {
        self.lines.next().await?.ok_or(QgaError::Closed)
    }

    async fn execute<C: qapi::Command>(&mut self, command: C) -> Result<C::Ok, QgaError> {
        self.write.write_all(&codec::encode(command, None)?).await?;
        let malformed = QgaError::Malformed(C::NAME);
        loop {
            return match parse(&self.line().await?) {
                // A late reply to `guest-sync-delimited`.
                Some(Ok(Value::Number(_))) => continue,
                Some(Ok(value)) => serde_json::from_value(value).map_err(|_| malformed),
                Some(Err(reason)) => Err(QgaError::Refused(reason)),
                None => Err(malformed),
            };
        }
    }

    /// Runs a command until it exits. If it cannot be started, the reason is only in the text of
    /// [`QgaError::Refused`].
    pub async fn run(&mut self, command: Command) -> Result<GuestExecStatus, QgaError> {
        let mut argv = command.argv.into_iter();
        let exec = guest_exec {
            path: argv.next().unwrap_or_default(),
            arg: Some(argv.collect()),
            capture_output: Some(GuestExecCaptureOutput::flag(true)),
            env: Some(command.env).filter(|env| !env.is_empty()),
            input_data: Some(command.input).filter(|input| !input.is_empty()),
        };
        let pid = self.execute(exec).await?.pid;
        let (mut pause, longest) = STATUS_INTERVAL;
        loop {
            let status = self.execute(guest_exec_status { pid }).await?;
            if status.exited {
                return Ok(status);
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// The result or the agent's refusal, shortened. None if the line is not a reply, or of so many parts
/// that its value would take many times the memory of its text.
fn parse(line: &[u8]) -> Option<Result<Value, String>> {
    let parts = line.iter().filter(|byte| b",:[{".contains(byte));
    if parts.take(PARTS_MAX).count() == PARTS_MAX {
        return None;
    }
    match Message::parse(line)? {
        Message::Reply { result, .. } => {
            Some(result.map_err(|refusal| refusal.description.chars().take(1000).collect()))
        }
        Message::Greeting(_) | Message::Event { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt, BufReader};

    #[test]
    fn an_answer_of_many_parts_is_none_and_one_of_long_strings_is() {
        let nested = format!("{{\"return\": [{}0]}}", "0,".repeat(PARTS_MAX));
        assert_eq!(parse(nested.as_bytes()), None);
        let long = format!("{{\"return\": \"{}\"}}", "x".repeat(1 << 20));
        assert!(parse(long.as_bytes()).is_some());
    }

    /// An agent that says these lines, one for each that it is told, after some noise.
    async fn told(answers: &[&str]) -> (Qga, tokio::task::JoinHandle<Vec<String>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let answers: Vec<String> = answers.iter().map(|line| (*line).to_owned()).collect();
        let agent = tokio::spawn(async move {
            let mut theirs = BufReader::new(theirs);
            let mut heard = Vec::new();
            let mut greeting = Vec::new();
            theirs.read_until(b'\n', &mut greeting).await.unwrap();
            assert_eq!(greeting[0], 0xff);
            let greeting: Value = serde_json::from_slice(&greeting[1..]).unwrap();
            let id = &greeting["arguments"]["id"];
            let stale = b"{\"return\": 1}\nnoise ";
            theirs.write_all(stale).await.unwrap();
            let answer = format!("{{\"return\": {id}}}\n{{\"return\": {id}}}\n");
            theirs
                .write_all(&[&[0xff], answer.as_bytes()].concat())
                .await
                .unwrap();
            for answer in answers {
                let mut line = String::new();
                theirs.read_line(&mut line).await.unwrap();
                heard.push(line);
                theirs
                    .write_all(format!("{answer}\n").as_bytes())
                    .await
                    .unwrap();
            }
            heard
        });
        (Qga::connect(ours).await.unwrap(), agent)
    }

    fn command() -> Command {
        Command {
            argv: vec!["cat".into(), "-".into()],
            env: vec!["A=b".into()],
            input: b"in".to_vec(),
        }
    }

    #[tokio::test]
    async fn a_command_runs_to_its_end_and_its_streams_stay_apart() {
        let (mut qga, agent) = told(&[
            r#"{"return": {"pid": 7}}"#,
            r#"{"return": {"exited": false}}"#,
            r#"{"return": {"exited": true, "exitcode": 3, "out-data": "b3V0",
                "err-data": "ZXJy", "err-truncated": true}}"#
                .replace('\n', "")
                .as_str(),
        ])
        .await;
        let finished = qga.run(command()).await.unwrap();
        assert_eq!((finished.exitcode, finished.signal), (Some(3), None));
        assert_eq!(finished.out_data.unwrap(), b"out");
        assert_eq!(finished.err_data.unwrap(), b"err");
        assert_eq!(
            (finished.out_truncated, finished.err_truncated),
            (None, Some(true))
        );
        let heard = agent.await.unwrap();
        let start: Value = serde_json::from_str(&heard[0]).unwrap();
        assert_eq!(
            start["arguments"],
            json!({"path": "cat", "arg": ["-"], "capture-output": true,
                   "env": ["A=b"], "input-data": "aW4="})
        );
        assert!(heard[2].contains("guest-exec-status"), "{heard:?}");
    }

    #[tokio::test]
    async fn whatever_else_it_says_is_an_error() {
        for (answer, expected) in [
            (
                r#"{"error": {"class": "x", "desc": "no\u0007"}}"#,
                r"no\u{7}",
            ),
            ("nonsense", "malformed reply to guest-exec"),
            (r#"{"return": {}}"#, "malformed reply to guest-exec"),
            (r#"{"return": []}"#, "malformed reply to guest-exec"),
        ] {
            let (mut qga, _agent) = told(&[answer]).await;
            let error = qga.run(command()).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let (mut qga, agent) = told(&[]).await;
        agent.await.unwrap();
        let error = qga.run(command()).await.unwrap_err().to_string();
        assert!(
            error.contains("closed") || error.contains("channel"),
            "{error}"
        );
    }
}
