//! A QMP session. One task owns the socket: commands are queued to it, and their replies are matched
//! by id. qapi 0.15's own session is not used: it ends at the first event that it does not know, such
//! as one of a newer QEMU, and when an `execute` future is dropped half way.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use qapi::Command;
use qapi::qmp::Event;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::codec::{self, Lines, Message, QmpError, Refusal, Version, excerpt};
use crate::text::escape::Untrusted;

/// The longest line accepted from QEMU, in bytes. The longest known reply, that of
/// `query-qmp-schema`, has about 200 kB.
const LINE_MAX: usize = 16 << 20;

type Reply = Result<Value, Refusal>;

struct Request {
    line: Vec<u8>,
    descriptor: Option<OwnedFd>,
    id: u64,
    reply: oneshot::Sender<Reply>,
}

#[derive(Debug)]
pub struct Qmp {
    requests: mpsc::UnboundedSender<Request>,
    next_id: std::cell::Cell<u64>,
    pub version: Version,
}

/// The events that are wanted; closed with the connection, after its error.
pub type Events = mpsc::Receiver<Result<Event, QmpError>>;

/// How many wanted events are kept until they are taken. More are dropped: QEMU may send any number.
const EVENTS_MAX: usize = 64;

impl Qmp {
    /// Reads the greeting and negotiates capabilities. Needs a tokio runtime.
    pub async fn open(
        socket: UnixStream,
        wanted: fn(&Event) -> bool,
    ) -> Result<(Self, Events), QmpError> {
        let (read, write) = socket.into_split();
        let mut lines = Lines::new(read, LINE_MAX);
        let greeting = lines.next().await?.ok_or(QmpError::Closed)?;
        let Some(Message::Greeting(version)) = Message::parse(&greeting) else {
            return Err(QmpError::Malformed(excerpt(&greeting)));
        };
        let (requests, requests_rx) = mpsc::unbounded_channel();
        let (events_tx, events) = mpsc::channel(EVENTS_MAX);
        let events_tx = EventSender {
            error: events_tx.clone().reserve_owned().await.ok(),
            wanted,
            events: events_tx,
        };
        tokio::spawn(own_the_socket(lines, write, requests_rx, events_tx));
        let qmp = Self {
            requests,
            next_id: 0.into(),
            version,
        };
        qmp.execute(qapi::qmp::qmp_capabilities { enable: None })
            .await?;
        Ok((qmp, events))
    }

    /// Sends `command` and waits for its result. Dropping the future drops the result and does no
    /// harm.
    pub async fn execute<C: Command>(&self, command: C) -> Result<C::Ok, QmpError> {
        self.execute_with(command, None).await
    }

    pub async fn execute_with<C: Command>(
        &self,
        command: C,
        descriptor: Option<OwnedFd>,
    ) -> Result<C::Ok, QmpError> {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let line = codec::encode(command, Some(id))?;
        let (reply, replied) = oneshot::channel();
        let request = Request {
            line,
            descriptor,
            id,
            reply,
        };
        self.requests.send(request).map_err(|_| QmpError::Closed)?;
        match replied.await.map_err(|_| QmpError::Closed)? {
            Ok(value) => serde_json::from_value(value)
                .map_err(|error| QmpError::Malformed(error.to_string())),
            Err(Refusal { class, description }) => Err(QmpError::Refused {
                command: C::NAME,
                class,
                description,
            }),
        }
    }
}

struct EventSender {
    wanted: fn(&Event) -> bool,
    events: mpsc::Sender<Result<Event, QmpError>>,
    /// Room for the error that ends the connection.
    error: Option<mpsc::OwnedPermit<Result<Event, QmpError>>>,
}

/// The task that reads and writes the socket until either side closes it.
async fn own_the_socket(
    mut lines: Lines<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    mut requests: mpsc::UnboundedReceiver<Request>,
    mut events: EventSender,
) {
    let mut pending: HashMap<u64, oneshot::Sender<Reply>> = HashMap::new();
    loop {
        // What is in the buffer already would otherwise be read without a pause.
        tokio::task::consume_budget().await;
        tokio::select! {
            request = requests.recv() => {
                let Some(Request { line, descriptor, id, reply }) = request else { return };
                pending.insert(id, reply);
                if send(&mut write, &line, descriptor).await.is_err() {
                    return;
                }
            }
            line = lines.next() => {
                let dispatched = match line {
                    Ok(Some(line)) => dispatch(&line, &mut pending, &events),
                    Ok(None) => return,
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = dispatched {
                    events.error.take().map(|room| room.send(Err(error)));
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
    line: &[u8],
    pending: &mut HashMap<u64, oneshot::Sender<Reply>>,
    events: &EventSender,
) -> Result<(), QmpError> {
    match Message::parse(line) {
        Some(Message::Event { name, message }) => match serde_json::from_value(message) {
            Ok(event) => {
                tracing::debug!("QMP event {}", Untrusted(&name));
                if (events.wanted)(&event) {
                    let _ = events.events.try_send(Ok(event));
                }
            }
            // An event of a newer QEMU, which nothing here waits for.
            Err(error) => {
                let error = error.to_string();
                tracing::debug!(
                    "unknown QMP event {}: {}",
                    Untrusted(&name),
                    Untrusted(&error)
                );
            }
        },
        Some(Message::Reply { id, result }) => {
            if let Some(waiting) = id.and_then(|id| pending.remove(&id)) {
                // Fails if the future was dropped.
                let _ = waiting.send(result);
            }
        }
        Some(Message::Greeting(_)) | None => return Err(QmpError::Malformed(excerpt(line))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, BufReader};

    const GREETING: &str = "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":22,\"minor\":2,\"major\":7},\
        \"package\":\"Debian\"},\"capabilities\":[\"oob\"]}}\n";
    const NEGOTIATED: &str = "{\"return\":{},\"id\":0}\n";

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
        Qmp::open(ours, |event| !matches!(event, Event::RESUME { .. })).await
    }

    /// A negotiated session with a QEMU that gives these answers.
    async fn session(answers: &[&str]) -> (Qmp, Events) {
        let parts = [&[GREETING, NEGOTIATED], answers].concat();
        session_with(&parts).await.unwrap()
    }

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
            let (qmp, mut events) = session_with(&[GREETING, &answer]).await.unwrap();
            assert_eq!(qmp.version.to_string(), "7.2.22");
            assert!(matches!(events.recv().await, Some(Ok(Event::STOP { .. }))));
        });
    }

    #[test]
    fn a_flood_of_events_fills_no_memory_and_hides_no_error() {
        let event = |name| {
            format!(r#"{{"event":"{name}","timestamp":{{"seconds":1,"microseconds":2}}}}"#) + "\n"
        };
        let flood = event("RESUME").repeat(1000) + &event("STOP").repeat(1000) + "no QMP\n";
        let answer = format!("{NEGOTIATED}{flood}");
        block_on(async {
            let (_qmp, mut events) = session_with(&[GREETING, &answer]).await.unwrap();
            let mut count = 0;
            let error = loop {
                match events.recv().await.unwrap() {
                    Ok(event) => assert!(matches!(event, Event::STOP { .. })),
                    Err(error) => break error,
                }
                count += 1;
            };
            assert!(matches!(error, QmpError::Malformed(_)), "{error}");
            assert!((1..1000).contains(&count), "{count}");
            assert!(events.recv().await.is_none());
        });
    }

    #[test]
    fn what_is_not_qmp_is_said_and_not_guessed() {
        for script in ["hello\n", "{}\n", "[1]\n", "{\"QMP\":7}\n", "\u{0}\u{1}\n"] {
            let error = block_on(session_with(&[script])).unwrap_err();
            let malformed = matches!(error, QmpError::Malformed(_));
            assert!(malformed, "{script:?} gave {error}");
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
            let (qmp, _events) = session(&[&answer]).await;
            assert!(qmp.execute(qapi::qmp::query_kvm {}).await.unwrap().present);
        });
    }

    #[test]
    fn a_refusal_carries_the_command_and_qemus_words() {
        let refusal =
            "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"no such thing\"},\"id\":1}\n";
        block_on(async {
            let (qmp, _events) = session(&[refusal]).await;
            let error = qmp.execute(qapi::qmp::cont {}).await.unwrap_err();
            let refused = "QEMU refused cont: CommandNotFound: no such thing";
            assert_eq!(error.to_string(), refused);
        });
    }
}
