//! The wire format of QMP and of the QEMU guest agent: one JSON object a line. Splits a stream into
//! lines of limited length and lines into messages. Sends nothing.

use std::io;

use qapi::{Command, Execute};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::text::escape::Untrusted;

#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    #[error("QEMU closed its QMP connection")]
    Closed,
    /// What was received, or what is wrong with it.
    #[error("QEMU sent something that is not QMP: {}", Untrusted(.0))]
    Malformed(String),
    #[error(
        "QEMU refused {command}: {}: {}",
        Untrusted(class),
        Untrusted(description)
    )]
    Refused {
        command: &'static str,
        class: String,
        description: String,
    },
    #[error("the QMP connection failed: {0}")]
    Io(#[from] io::Error),
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// Major, minor, micro.
    pub numbers: (u64, u64, u64),
    /// The distribution's package version, such as ` (Debian 1:7.2+dfsg-7)`; may be empty.
    pub package: String,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor, micro) = self.numbers;
        write!(f, "{major}.{minor}.{micro}")
    }
}

pub struct Lines<R> {
    read: R,
    /// Bytes that were read and not returned yet.
    buffer: Vec<u8>,
    /// How many bytes of `buffer` are known to hold no newline.
    searched: usize,
    max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Accepts lines of up to about `max` bytes.
    pub fn new(read: R, max: usize) -> Self {
        Self {
            read,
            buffer: Vec::new(),
            searched: 0,
            max,
        }
    }

    /// The next line without its newline, or None at the end of the stream, where an incomplete
    /// line is dropped. Cancel-safe.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let newline = self.buffer[self.searched..]
                .iter()
                .position(|b| *b == b'\n');
            if let Some(length) = newline {
                let rest = self.buffer.split_off(self.searched + length + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > self.max {
                let message = format!("received a line of more than {} bytes", self.max);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            self.buffer.reserve(8 << 10);
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// What QEMU or the guest agent sends.
#[derive(Debug)]
pub enum Message {
    Greeting(Version),
    Event {
        name: String,
        message: Value,
    },
    Reply {
        id: Option<u64>,
        result: Result<Value, Refusal>,
    },
}

#[derive(Debug)]
pub struct Refusal {
    pub class: String,
    pub description: String,
}

impl Message {
    /// None if `line` is not a message.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut message: Value = serde_json::from_slice(line).ok()?;
        let fields = message.as_object_mut()?;
        if let Some(greeting) = fields.get("QMP") {
            return greeting_version(greeting).map(Self::Greeting);
        }
        if let Some(name) = fields.get("event").and_then(Value::as_str) {
            let name = name.to_owned();
            return Some(Self::Event { name, message });
        }
        let id = fields.get("id").and_then(Value::as_u64);
        let result = match (fields.remove("return"), fields.get("error")) {
            (Some(value), _) => Ok(value),
            (None, Some(error)) => Err(Refusal {
                class: error["class"].as_str().unwrap_or("GenericError").into(),
                description: error["desc"].as_str().unwrap_or("no reason given").into(),
            }),
            (None, None) => return None,
        };
        Some(Self::Reply { id, result })
    }
}

fn greeting_version(greeting: &Value) -> Option<Version> {
    let version = &greeting["version"];
    let number = |name: &str| version["qemu"][name].as_u64();
    Some(Version {
        numbers: (number("major")?, number("minor")?, number("micro")?),
        package: version["package"].as_str().unwrap_or_default().to_owned(),
    })
}

pub fn encode<C: Command>(command: C, id: Option<u64>) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Execute::new(command, id))?;
    line.push(b'\n');
    Ok(line)
}

/// The beginning of unexpected input, quoted for an error message.
pub fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    format!("{:?}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_whole_however_they_arrive_and_an_unfinished_one_is_dropped() {
        let pieces: [&[u8]; 5] = [b"{\"a\":", b"1}\n{}", b"\n", b"\n{\"b\"", b":2}"];
        let (read, mut write) = tokio::io::duplex(4);
        let writer = tokio::spawn(async move {
            for piece in pieces {
                tokio::io::AsyncWriteExt::write_all(&mut write, piece)
                    .await
                    .unwrap();
            }
        });
        let mut lines = Lines::new(read, 100);
        for expected in [&b"{\"a\":1}"[..], b"{}", b""] {
            assert_eq!(lines.next().await.unwrap().unwrap(), expected);
        }
        assert_eq!(lines.next().await.unwrap(), None);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_line_that_does_not_end_is_an_error() {
        let endless = vec![b'x'; 100_000];
        let error = Lines::new(&endless[..], 20_000).next().await.unwrap_err();
        let expected = "received a line of more than 20000 bytes";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_message_is_a_greeting_an_event_or_a_reply_and_nothing_else() {
        let parse = |text: &str| Message::parse(text.as_bytes());
        let reply = parse(r#"{"return": 7, "id": 3}"#);
        assert!(
            matches!(reply, Some(Message::Reply { id: Some(3), result: Ok(value) }) if value == 7)
        );
        let refusal = parse(r#"{"error": {"class": "x", "desc": "no"}}"#);
        assert!(matches!(refusal,
            Some(Message::Reply { id: None, result: Err(refusal) }) if refusal.description == "no"));
        assert!(matches!(
            parse(r#"{"event": "STOP"}"#),
            Some(Message::Event { .. })
        ));
        for text in [
            "",
            "1",
            "[]",
            "{}",
            "{\"QMP\": 7}",
            "{\"event\": 7}",
            "\u{0}",
        ] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }
}
