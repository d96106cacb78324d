//! Where the output of a command goes: into the result of its request, up to a limit, or piece by
//! piece to the client.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

use super::client::Client;
use crate::rpc::Id;
use crate::rpc::data::whole_characters;
use crate::rpc::exec::{Output, StreamName};

/// How long an output may be silent after its command has ended, until it is closed: a process that
/// the command left behind may hold it open.
const SILENCE: Duration = Duration::from_secs(5);

/// The most that is read at a time.
const CHUNK: usize = 64 << 10;

pub(super) struct Sink {
    /// What was read and not passed on.
    pub bytes: Vec<u8>,
    /// Some of the output was dropped, or could not be had.
    pub truncated: bool,
    target: Target,
}

enum Target {
    Whole {
        limit: u64,
    },
    Streamed {
        client: Rc<Client>,
        exec: Id,
        stream: StreamName,
    },
}

impl Sink {
    /// Keeps the first `limit` bytes.
    pub fn collected(limit: u64) -> Self {
        Self::to(Target::Whole { limit })
    }

    /// Passes everything on to the client, as the output `stream` of the command `exec`.
    pub fn streamed(client: &Rc<Client>, exec: &Id, stream: StreamName) -> Self {
        Self::to(Target::Streamed {
            client: Rc::clone(client),
            exec: exec.clone(),
            stream,
        })
    }

    fn to(target: Target) -> Self {
        Self {
            bytes: Vec::new(),
            truncated: false,
            target,
        }
    }

    /// Takes a stream to its end, or until it stays silent after its command `is_over`.
    pub async fn take(
        &mut self,
        stream: Option<impl AsyncRead + Unpin>,
        mut is_over: watch::Receiver<bool>,
    ) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = tokio::select! {
                biased;
                read = stream.read(&mut buffer) => read,
                () = silence(&mut is_over) => break,
            };
            match read {
                Ok(0) => break,
                Ok(length) => self.add(&buffer[..length]).await,
                // If the session is over, the wait for the command says so.
                Err(_) => {
                    self.truncated = true;
                    break;
                }
            }
        }
        self.pass_on(self.bytes.len()).await;
    }

    async fn add(&mut self, bytes: &[u8]) {
        match self.target {
            Target::Whole { limit } => {
                let room = usize::try_from(limit).unwrap_or(usize::MAX) - self.bytes.len();
                let taken = bytes.len().min(room);
                self.bytes.extend_from_slice(&bytes[..taken]);
                self.truncated |= taken < bytes.len();
            }
            Target::Streamed { .. } => {
                self.bytes.extend_from_slice(bytes);
                self.pass_on(whole_characters(&self.bytes)).await;
            }
        }
    }

    async fn pass_on(&mut self, length: usize) {
        if let Target::Streamed {
            client,
            exec,
            stream,
        } = &self.target
            && length > 0
        {
            let rest = self.bytes.split_off(length);
            let piece = Output {
                exec: exec.clone(),
                stream: *stream,
                data: std::mem::replace(&mut self.bytes, rest).into(),
            };
            client.notify(&piece).await;
        }
    }
}

/// Waits for [`SILENCE`] after the command's end.
async fn silence(is_over: &mut watch::Receiver<bool>) {
    match is_over.wait_for(|over| *over).await {
        Ok(_) => tokio::time::sleep(SILENCE).await,
        // Nobody waits for the output.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn output_is_kept_to_its_limit_and_read_to_its_end() {
        let (_over, is_over) = watch::channel(false);
        let mut sink = Sink::collected(4);
        sink.take(Some(&b"abcdefgh"[..]), is_over.clone()).await;
        assert_eq!(
            (sink.bytes.as_slice(), sink.truncated),
            (&b"abcd"[..], true)
        );
        let mut sink = Sink::collected(8);
        sink.take(Some(&b"abcdefgh"[..]), is_over).await;
        assert_eq!((sink.bytes.len(), sink.truncated), (8, false));
    }

    #[tokio::test]
    async fn streamed_text_stays_text_though_a_character_comes_in_two_parts() {
        let (sender, mut lines) = mpsc::channel(8);
        let client = Rc::new(Client::new(sender));
        let mut sink = Sink::streamed(&client, &Id::Number(7), StreamName::Stderr);
        sink.add("a€".as_bytes().split_at(2).0).await;
        sink.add("a€".as_bytes().split_at(2).1).await;
        sink.pass_on(sink.bytes.len()).await;
        let mut data = Vec::new();
        while let Ok(line) = lines.try_recv() {
            let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(line["params"]["exec"], 7);
            assert_eq!(line["params"]["stream"], "stderr");
            data.push(line["params"]["data"].as_str().unwrap().to_owned());
        }
        assert_eq!(data, ["a", "€"]);
    }
}
