//! A client of the QEMU guest agent, for images that bring it and that bivouac's own agent
//! cannot be put into. It runs commands; there are no signals, no terminal and no streams while
//! a command runs: the agent collects the output and gives it in the end.
//!
//! The guest is hostile here as well: a line is capped, and of its answer nothing is trusted.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// The port that the agent looks for.
pub const PORT: &str = "org.qemu.guest_agent.0";

/// The longest line that is read: the agent collects up to 16 MiB of each output (qga/commands.c,
/// GUEST_EXEC_MAX_OUTPUT), in base64 here.
const MOST_LINE: u64 = 64 << 20;

/// How many commas, colons and brackets a line may have. The agent's answers have ten or so.
const MOST_PARTS: usize = 4096;

/// The most input that a command gets: the agent takes it within one message.
pub const MOST_INPUT: u64 = 8 << 20;

/// How often an agent that has not answered yet is greeted again.
const GREET_AGAIN: Duration = Duration::from_secs(5);

/// How often the state of a command is asked for, at first and in the end.
const ASK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Why the agent did not do what was asked.
#[derive(Debug, Error)]
pub enum QgaError {
    /// The channel failed.
    #[error("the channel to the QEMU guest agent")]
    Channel(#[from] std::io::Error),
    /// The channel is closed.
    #[error("the QEMU guest agent's end is closed")]
    Closed,
    /// What it sent is no answer.
    #[error("the QEMU guest agent sent {0}")]
    Nonsense(&'static str),
    /// It refused.
    #[error("the QEMU guest agent: {}", .0.escape_debug())]
    Refused(String),
}

/// What a command is started with.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its variables, `K=V`; those of the agent where there are none.
    pub env: Vec<String>,
    /// Its whole standard input.
    pub input: Vec<u8>,
}

/// How a command ended, with what it wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Its status, or what the system calls it.
    pub status: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its error output.
    pub stderr: Vec<u8>,
    /// It wrote more than the agent collects.
    pub truncated: bool,
}

/// A conversation with the agent.
#[derive(Debug)]
pub struct Qga {
    stream: BufReader<UnixStream>,
}

impl Qga {
    /// Waits until the agent answers; a caller that will not wait for ever drops this.
    ///
    /// # Errors
    /// The channel fails.
    pub async fn connect(stream: UnixStream) -> Result<Self, QgaError> {
        let mut this = Self {
            stream: BufReader::new(stream),
        };
        // Of an odd look, so that no stale answer has it.
        let mut id = u64::from(std::process::id()) << 20 | 0xb1;
        loop {
            id += 1;
            // Its parser drops whatever came before this byte, and repeats it before its answer.
            let greeting = json!({"execute": "guest-sync-delimited", "arguments": {"id": id}});
            let line = [&[0xff][..], greeting.to_string().as_bytes(), b"\n"].concat();
            let greeted = async {
                this.stream.write_all(&line).await?;
                this.answer_to(id).await
            };
            match timeout(GREET_AGAIN, greeted).await {
                Ok(Ok(())) => return Ok(this),
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
    }

    async fn answer_to(&mut self, id: u64) -> Result<(), QgaError> {
        loop {
            let line = self.line().await?;
            let begin = line.iter().rposition(|byte| *byte == 0xff);
            let line = &line[begin.map_or(0, |at| at + 1)..];
            let answer = parse(line);
            if answer.is_some_and(|answer| answer["return"] == id) {
                return Ok(());
            }
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, QgaError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MOST_LINE);
        limited.read_until(b'\n', &mut line).await?;
        match line.last() {
            Some(b'\n') => Ok(line),
            _ if line.len() as u64 >= MOST_LINE => Err(QgaError::Nonsense("an endless line")),
            _ => Err(QgaError::Closed),
        }
    }

    async fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, QgaError> {
        let mut line = json!({"execute": command, "arguments": arguments}).to_string();
        line.push('\n');
        self.stream.write_all(line.as_bytes()).await?;
        loop {
            let line = self.line().await?;
            let not = || QgaError::Nonsense("a line that is no JSON, or of too many parts");
            let mut answer = parse(&line).ok_or_else(not)?;
            if let Some(why) = answer["error"]["desc"].as_str() {
                return Err(QgaError::Refused(why.chars().take(1000).collect()));
            }
            match answer["return"].take() {
                Value::Object(found) => return Ok(Value::Object(found)),
                // A late answer to a greeting.
                Value::Number(_) => {}
                _ => return Err(QgaError::Nonsense("an answer without a value")),
            }
        }
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be started, which the agent's words alone tell, or the conversation fails.
    pub async fn run(&mut self, command: Command) -> Result<Finished, QgaError> {
        let mut argv = command.argv.into_iter();
        let mut arguments = json!({
            "path": argv.next().unwrap_or_default(),
            "arg": argv.collect::<Vec<_>>(),
            "capture-output": true,
        });
        if !command.env.is_empty() {
            arguments["env"] = json!(command.env);
        }
        if !command.input.is_empty() {
            arguments["input-data"] = json!(STANDARD.encode(command.input));
        }
        let started = self.ask("guest-exec", arguments).await?;
        let pid = started["pid"]
            .as_i64()
            .ok_or(QgaError::Nonsense("no process id"))?;
        let mut pause = ASK.0;
        loop {
            let state = self.ask("guest-exec-status", json!({"pid": pid})).await?;
            if state["exited"] == true {
                return finished(&state);
            }
            sleep(pause).await;
            pause = (pause * 2).min(ASK.1);
        }
    }
}

/// A line as JSON. Its strings may be long, but its parts are few: each takes many times the memory
/// of its text.
fn parse(line: &[u8]) -> Option<Value> {
    let parts = line.iter().filter(|byte| b",:[{".contains(byte));
    match parts.take(MOST_PARTS).count() {
        MOST_PARTS => None,
        _ => serde_json::from_slice(line).ok(),
    }
}

fn finished(state: &Value) -> Result<Finished, QgaError> {
    let bytes = |name: &str| match state[name].as_str() {
        Some(text) => STANDARD
            .decode(text)
            .map_err(|_| QgaError::Nonsense("an output that is no base64")),
        None => Ok(Vec::new()),
    };
    let number = |name: &str| state[name].as_i64();
    let truncated = |name: &str| state[name] == true;
    Ok(Finished {
        // On Windows a status has 32 bits; its lowest eight are what we can pass on.
        status: number("exitcode").map(|code| code as u8),
        signal: number("signal").and_then(|signal| i32::try_from(signal).ok()),
        stdout: bytes("out-data")?,
        stderr: bytes("err-data")?,
        truncated: truncated("out-truncated") || truncated("err-truncated"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_many_parts_is_none_and_one_of_long_strings_is() {
        let nested = format!("{{\"return\": [{}0]}}", "0,".repeat(MOST_PARTS));
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
        let expected = Finished {
            status: Some(3),
            signal: None,
            stdout: b"out".to_vec(),
            stderr: b"err".to_vec(),
            truncated: true,
        };
        assert_eq!(finished, expected);
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
            ("nonsense", "no JSON"),
            (r#"{"return": {}}"#, "no process id"),
            (r#"{"return": []}"#, "without a value"),
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
