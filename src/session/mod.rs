//! The host's end of a conversation: the handshake, then requests, each an async function.
//!
//! One task (`actor`) owns the socket. A [`Session`] and its streams only send it commands, so
//! any of them may be dropped at any time. The guest is untrusted: what it sends must fit what
//! was asked, is capped, and never makes this side grow. A guest that breaks the protocol ends
//! the session, and everything that waits gets the reason. Only the handshake has a deadline; how
//! long a command or a file may take is up to the caller.

mod actor;
mod disks;
mod error;
mod exec;
mod files;
mod handshake;
mod hold;
mod messages;
mod placed;
pub(crate) mod qga;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::UnixStream;
use tokio::sync::mpsc;

pub use crate::protocol::{Command, ExecEnd};
pub use error::{Seen, SessionError};
pub use exec::{Exec, ExecControl, Stdio};
pub use files::{Entries, Records, Unpacking};
pub(crate) use handshake::random;
pub use messages::ReadMemory;
pub(crate) use messages::SurveyStep;
pub use stream::{StreamReader, StreamWriter};

use crate::protocol::{ByteString, CloneIdentity, ErrorStage, Operation, RemoteError, StreamId};
use handshake::Agent;
use messages::{
    ActorCommand, Answer, Attached, CloseReason, Closing, PendingRequest, SharedSendWindow,
};

/// A conversation with an agent. Clones share it; it ends when the last of them and of its
/// streams is dropped.
#[derive(Clone, Debug)]
pub struct Session {
    actor: mpsc::UnboundedSender<ActorCommand>,
    closing: mpsc::Sender<Closing>,
    reason: Arc<CloseReason>,
    last: Arc<Last>,
    agent: Arc<Agent>,
    memory: placed::GuestMemory,
}

/// The numbers given last.
#[derive(Debug, Default)]
struct Last {
    request: AtomicU64,
    stream: AtomicU32,
}

impl Session {
    /// Says hello, and waits for a fresh answer until `deadline` has passed. Bytes of an earlier
    /// conversation are skipped. Needs a tokio runtime; one thread is enough.
    pub async fn connect(stream: UnixStream, deadline: Duration) -> Result<Self, SessionError> {
        Self::begin(stream, deadline, false).await
    }

    /// [`Session::connect`] in a branch of a machine: the commands of the session that its parent had go
    /// on. What they write is dropped.
    pub async fn join(stream: UnixStream, deadline: Duration) -> Result<Self, SessionError> {
        Self::begin(stream, deadline, true).await
    }

    async fn begin(
        stream: UnixStream,
        deadline: Duration,
        keeps_commands: bool,
    ) -> Result<Self, SessionError> {
        let (stream, decoder, agent) =
            handshake::exchange(stream, deadline, keeps_commands).await?;
        let (actor, commands) = mpsc::unbounded_channel();
        let (closing, asked) = mpsc::channel(1);
        let reason = Arc::new(CloseReason::default());
        let running = actor::run(stream, decoder, commands, asked, Arc::clone(&reason));
        tokio::spawn(running);
        Ok(Self {
            actor,
            closing,
            reason,
            last: Arc::default(),
            agent: Arc::new(agent),
            memory: placed::GuestMemory::default(),
        })
    }

    /// The agent's program version, escaped.
    pub fn program(&self) -> &str {
        &self.agent.program
    }

    /// Whether the guest's boot failed, so that its init started the agent in emergency mode.
    pub(crate) fn is_emergency(&self) -> bool {
        self.agent.is_emergency
    }

    /// Waits until the guest ends the session, and returns why.
    pub async fn ended(&self) -> SessionError {
        self.actor.closed().await;
        self.reason.get()
    }

    /// Ends the session: everything that waits gets `reason`. Returns the stream, for another
    /// session with the agent of a guest that was reset; None if the session had ended already.
    pub(crate) async fn close(&self, reason: SessionError) -> Option<UnixStream> {
        let (stream, closed) = tokio::sync::oneshot::channel();
        self.closing.send(Closing { reason, stream }).await.ok()?;
        closed.await.ok()
    }

    /// Sets the guest's clock to this host's.
    pub async fn set_clock(&self) -> Result<(), SessionError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        self.request(Operation::SetClock {
            seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: now.subsec_nanos(),
        })
        .await
    }

    /// Mixes 256 random bytes of this host into the guest's random pool.
    pub(crate) async fn add_entropy(&self) -> Result<(), SessionError> {
        let bytes = ByteString(random::<256>()?.to_vec());
        self.request(Operation::AddEntropy { bytes }).await
    }

    /// Gives the guest a host name, a machine id or a hardware address of its own.
    pub(crate) async fn identify(&self, identity: CloneIdentity) -> Result<(), SessionError> {
        self.request(Operation::Identify(identity)).await
    }

    /// Writes everything in the guest to its disks.
    pub async fn sync(&self) -> Result<(), SessionError> {
        self.request(Operation::Sync).await
    }

    /// Powers the guest off at once, without its init system. The machine's end follows, and may
    /// be faster than the agent's answer.
    pub async fn shutdown(&self) -> Result<(), SessionError> {
        self.last_request(Operation::PowerOff).await
    }

    /// Resets the guest in the same way.
    pub async fn reboot(&self) -> Result<(), SessionError> {
        self.last_request(Operation::Reboot).await
    }

    async fn last_request(&self, operation: Operation) -> Result<(), SessionError> {
        match self.request(operation).await {
            Err(SessionError::Closed) => Ok(()),
            result => result,
        }
    }

    async fn request<A: Answer>(&self, operation: Operation) -> Result<A, SessionError> {
        self.send(self.next_id(), operation, Attached::default())
            .await
    }

    fn next_id(&self) -> u64 {
        self.last.request.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn send<A: Answer>(
        &self,
        id: u64,
        operation: Operation,
        attached: Attached,
    ) -> Result<A, SessionError> {
        let (pending, answer) = PendingRequest::new(id, operation, attached)
            .map_err(|error| invalid(error.to_string()))?;
        let command = ActorCommand::Request(Box::new(pending));
        // Dropped if the session is over; so is the sender of the answer.
        let _ = self.actor.send(command);
        match answer.await {
            Ok(result) => result.map_err(SessionError::Refused),
            Err(_) => Err(self.reason.get()),
        }
    }

    /// The next number of a stream to the agent (odd) or from it (even).
    fn stream_id(&self, to_agent: bool) -> Result<StreamId, SessionError> {
        // A pair for each stream, so that the parity is free to choose: 2n+1 and 2n+2.
        let pair = self.last.stream.fetch_add(2, Ordering::Relaxed);
        let number = pair.checked_add(if to_agent { 1 } else { 2 });
        let id = number.and_then(StreamId::new);
        id.ok_or_else(|| invalid("all stream numbers of this session are used up"))
    }

    /// A stream from the guest; its other end is attached to the request.
    fn reader(&self, attached: &mut Attached) -> Result<StreamReader, SessionError> {
        let id = self.stream_id(false)?;
        let (sender, incoming) = mpsc::unbounded_channel();
        attached.readers.push((id, sender));
        Ok(StreamReader {
            id,
            incoming,
            actor: self.actor.clone(),
            reason: Arc::clone(&self.reason),
            current: (Vec::new(), 0),
            over: false,
        })
    }

    /// A stream to the guest; its other end is attached to the request.
    fn writer(&self, attached: &mut Attached) -> Result<StreamWriter, SessionError> {
        let id = self.stream_id(true)?;
        let window = Arc::new(SharedSendWindow::default());
        attached.writer = Some((id, Arc::clone(&window)));
        Ok(StreamWriter {
            id,
            window,
            actor: self.actor.clone(),
            reason: Arc::clone(&self.reason),
            ended: false,
        })
    }
}

fn invalid(text: impl Into<String>) -> SessionError {
    SessionError::Refused(RemoteError::new(ErrorStage::Request, text))
}
