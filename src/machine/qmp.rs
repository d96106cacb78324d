//! The QMP session: the only user of `qapi`.
//!
//! `qapi` gives the types of commands, answers and events. The wire is read here, because
//! qapi 0.15's own session ends at the first event that it does not know (a newer QEMU's),
//! and when an `execute` future is dropped half way. One task owns the socket; commands are
//! queued to it and answered through it by id.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use qapi::qmp::Event;
use qapi::{Command, Execute};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// The longest line that QEMU may send, in bytes. `query-qmp-schema`, the largest answer
/// known, has about 200 kB.
const LINE_MAX: u64 = 16 << 20;

/// Why a QMP command gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU closed the connection.
    #[error("QEMU closed its QMP connection")]
    Closed,
    /// Not QMP.
    #[error("QEMU sent something that is not QMP: {0}")]
    Malformed(String),
    /// QEMU's own refusal.
    #[error("QEMU refused {command}: {class}: {description}")]
    Refused {
        /// The command's name.
        command: &'static str,
        /// QMP's error class.
        class: String,
        /// QEMU's words.
        description: String,
    },
    /// The connection failed.
    #[error("the QMP connection failed: {0}")]
    Io(#[from] io::Error),
}

/// QEMU's version, as its greeting tells it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// Major, minor, micro.
    pub numbers: (u64, u64, u64),
    /// The distribution's own version.
    pub package: String,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor, micro) = self.numbers;
        write!(f, "{major}.{minor}.{micro}")
    }
}

type Answer = Result<Value, Value>;

struct Question {
    line: Vec<u8>,
    /// Goes along with the line (`getfd`).
    descriptor: Option<OwnedFd>,
    id: u64,
    answer: oneshot::Sender<Answer>,
}

/// A negotiated session. Cloning is not offered: one owner.
#[derive(Debug)]
pub struct Qmp {
    questions: mpsc::UnboundedSender<Question>,
    next_id: std::cell::Cell<u64>,
    /// QEMU's version.
    pub version: Version,
}

/// What QEMU tells unasked; ends with the connection.
pub type Events = mpsc::UnboundedReceiver<Result<Event, QmpError>>;

impl Qmp {
    /// Reads the greeting and leaves the capabilities negotiation.
    pub async fn open(socket: UnixStream) -> Result<(Self, Events), QmpError> {
        let (read, write) = socket.into_split();
        let mut lines = Lines::new(read);
        let greeting = lines.next().await?.ok_or(QmpError::Closed)?;
        let version = greeting_version(&greeting)
            .ok_or_else(|| QmpError::Malformed(excerpt(greeting.to_string().as_bytes())))?;
        let (questions, questions_rx) = mpsc::unbounded_channel();
        let (events_tx, events) = mpsc::unbounded_channel();
        tokio::spawn(own_the_wire(lines, write, questions_rx, events_tx));
        let qmp = Self {
            questions,
            next_id: 0.into(),
            version,
        };
        qmp.execute(qapi::qmp::qmp_capabilities { enable: None })
            .await?;
        Ok((qmp, events))
    }

    /// Sends `command` and waits for its answer. Dropping the future forgets the answer and
    /// harms nothing.
    pub async fn execute<C: Command>(&self, command: C) -> Result<C::Ok, QmpError> {
        self.execute_with(command, None).await
    }

    /// [`Qmp::execute`] for a command that takes a descriptor, such as `getfd`.
    pub async fn execute_with<C: Command>(
        &self,
        command: C,
        descriptor: Option<OwnedFd>,
    ) -> Result<C::Ok, QmpError> {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let mut line = serde_json::to_vec(&Execute::new(command, Some(id)))
            .map_err(|error| QmpError::Malformed(error.to_string()))?;
        line.push(b'\n');
        let (answer, answered) = oneshot::channel();
        self.questions
            .send(Question {
                line,
                descriptor,
                id,
                answer,
            })
            .map_err(|_| QmpError::Closed)?;
        match answered.await.map_err(|_| QmpError::Closed)? {
            Ok(value) => serde_json::from_value(value)
                .map_err(|error| QmpError::Malformed(error.to_string())),
            Err(error) => Err(QmpError::Refused {
                command: C::NAME,
                class: error["class"].as_str().unwrap_or("GenericError").to_owned(),
                description: error["desc"]
                    .as_str()
                    .unwrap_or("no reason given")
                    .to_owned(),
            }),
        }
    }
}

/// The one task that reads and writes the socket, until either side closes it.
async fn own_the_wire(
    mut lines: Lines,
    mut write: OwnedWriteHalf,
    mut questions: mpsc::UnboundedReceiver<Question>,
    events: mpsc::UnboundedSender<Result<Event, QmpError>>,
) {
    let mut pending: HashMap<u64, oneshot::Sender<Answer>> = HashMap::new();
    loop {
        tokio::select! {
            question = questions.recv() => {
                let Some(Question { line, descriptor, id, answer }) = question else { return };
                pending.insert(id, answer);
                if send(&mut write, &line, descriptor).await.is_err() {
                    return;
                }
            }
            line = lines.next() => {
                let message = match line {
                    Ok(Some(message)) => message,
                    Ok(None) => return,
                    Err(error) => {
                        let _ = events.send(Err(error));
                        return;
                    }
                };
                if let Err(error) = dispatch(message, &mut pending, &events) {
                    let _ = events.send(Err(error));
                    return;
                }
            }
        }
    }
}

/// Writes a line; a descriptor goes along with its first byte (unix(7), SCM_RIGHTS).
async fn send(
    write: &mut OwnedWriteHalf,
    line: &[u8],
    descriptor: Option<OwnedFd>,
) -> io::Result<()> {
    let mut rest = line;
    if let Some(descriptor) = descriptor {
        let numbers = [descriptor.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&numbers)];
        let socket = write.as_ref();
        let first = [IoSlice::new(&line[..1])];
        let flags = MsgFlags::MSG_NOSIGNAL;
        let fd = socket.as_raw_fd();
        socket
            .async_io(Interest::WRITABLE, || {
                sendmsg::<()>(fd, &first, &rights, flags, None).map_err(io::Error::from)
            })
            .await?;
        rest = &line[1..];
    }
    write.write_all(rest).await
}

fn dispatch(
    mut message: Value,
    pending: &mut HashMap<u64, oneshot::Sender<Answer>>,
    events: &mpsc::UnboundedSender<Result<Event, QmpError>>,
) -> Result<(), QmpError> {
    if let Some(name) = message["event"].as_str().map(str::to_owned) {
        match serde_json::from_value::<Event>(message) {
            Ok(event) => {
                tracing::debug!("QMP event {name}");
                let _ = events.send(Ok(event));
            }
            // An event of a newer QEMU: nothing here waits for it.
            Err(error) => tracing::debug!("QMP event {name} is not known here: {error}"),
        }
        return Ok(());
    }
    let id = message["id"].as_u64();
    let answer = if let Some(value) = message.get_mut("return") {
        Ok(value.take())
    } else if let Some(error) = message.get_mut("error") {
        Err(error.take())
    } else {
        return Err(QmpError::Malformed(excerpt(message.to_string().as_bytes())));
    };
    if let Some(waiting) = id.and_then(|id| pending.remove(&id)) {
        // Nobody waits any more where the future was dropped.
        let _ = waiting.send(answer);
    }
    Ok(())
}

/// Lines of JSON, each read whole, with a cap.
struct Lines {
    read: BufReader<OwnedReadHalf>,
    partial: Vec<u8>,
}

impl Lines {
    fn new(read: OwnedReadHalf) -> Self {
        Self {
            read: BufReader::new(read),
            partial: Vec::new(),
        }
    }

    /// The next message; None at the end of the connection. May be dropped and called again:
    /// what was read of a line is kept.
    async fn next(&mut self) -> Result<Option<Value>, QmpError> {
        let room = LINE_MAX - (self.partial.len() as u64).min(LINE_MAX);
        (&mut self.read)
            .take(room)
            .read_until(b'\n', &mut self.partial)
            .await?;
        if self.partial.is_empty() {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.partial);
        if line.last() != Some(&b'\n') {
            if line.len() as u64 >= LINE_MAX {
                return Err(QmpError::Malformed(format!("a line over {LINE_MAX} bytes")));
            }
            tracing::debug!("QMP ended within a line: {}", excerpt(&line));
            return Ok(None);
        }
        match serde_json::from_slice(&line) {
            Ok(message @ Value::Object(_)) => Ok(Some(message)),
            _ => Err(QmpError::Malformed(excerpt(&line))),
        }
    }
}

fn greeting_version(greeting: &Value) -> Option<Version> {
    let version = &greeting["QMP"]["version"];
    let number = |name: &str| version["qemu"][name].as_u64();
    Some(Version {
        numbers: (number("major")?, number("minor")?, number("micro")?),
        package: version["package"].as_str().unwrap_or_default().to_owned(),
    })
}

/// The beginning of something unexpected, fit for an error message.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    format!("{:?}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixStream;

    const GREETING: &str = r#"{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":"Debian"},"capabilities":["oob"]}}"#;

    /// A QEMU that says the first of `parts` unasked, each further one after a command, and
    /// then nothing more.
    async fn session_with(parts: &[&str]) -> Result<(Qmp, Events), QmpError> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let parts: Vec<String> = parts.iter().map(|part| part.to_string()).collect();
        tokio::spawn(async move {
            let (read, mut write) = theirs.into_split();
            let mut commands = BufReader::new(read).lines();
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    commands.next_line().await.unwrap();
                }
                write.write_all(part.as_bytes()).await.unwrap();
            }
            write.shutdown().await.unwrap();
            // Read on, so that what we write is not an error.
            while let Ok(Some(_)) = commands.next_line().await {}
        });
        Qmp::open(ours).await
    }

    const NEGOTIATED: &str = "{\"return\":{},\"id\":0}\n";

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn an_event_that_is_not_known_does_not_end_the_session() {
        let events = [
            r#"{"event":"FROM_THE_FUTURE","data":{},"timestamp":{"seconds":1,"microseconds":2}}"#,
            r#"{"event":"STOP","timestamp":{"seconds":1,"microseconds":2}}"#,
        ];
        let answer = format!("{NEGOTIATED}{}\n{}\n", events[0], events[1]);
        block_on(async {
            let greeting = format!("{GREETING}\n");
            let (qmp, mut events) = session_with(&[&greeting, &answer]).await.unwrap();
            assert_eq!(qmp.version.to_string(), "7.2.22");
            assert!(matches!(events.recv().await, Some(Ok(Event::STOP { .. }))));
        });
    }

    #[test]
    fn what_is_not_qmp_is_said_and_not_guessed() {
        for script in ["hello\n", "{}\n", "[1]\n", "{\"QMP\":7}\n", "\u{0}\u{1}\n"] {
            let error = block_on(session_with(&[script])).unwrap_err();
            assert!(
                matches!(error, QmpError::Malformed(_)),
                "{script:?} gave {error}"
            );
        }
        for script in ["", "{\"QMP\""] {
            let error = block_on(session_with(&[script])).unwrap_err();
            assert!(matches!(error, QmpError::Closed), "{script:?} gave {error}");
        }
    }

    #[test]
    fn an_answer_of_two_megabytes_is_read_whole() {
        let long = "x".repeat(2 << 20);
        let answer = format!(
            "{{\"return\":{{\"enabled\":false,\"present\":true,\"pad\":\"{long}\"}},\"id\":1}}\n"
        );
        block_on(async {
            let greeting = format!("{GREETING}\n");
            let (qmp, _events) = session_with(&[&greeting, NEGOTIATED, &answer])
                .await
                .unwrap();
            assert!(qmp.execute(qapi::qmp::query_kvm {}).await.unwrap().present);
        });
    }

    #[test]
    fn a_refusal_carries_the_command_and_qemus_words() {
        let refusal =
            "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"no such thing\"},\"id\":1}\n";
        block_on(async {
            let greeting = format!("{GREETING}\n");
            let (qmp, _events) = session_with(&[&greeting, NEGOTIATED, refusal])
                .await
                .unwrap();
            let error = qmp.execute(qapi::qmp::cont {}).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "QEMU refused cont: CommandNotFound: no such thing"
            );
        });
    }
}
