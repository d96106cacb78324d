//! The host's end of a conversation: hello, then requests, each an async function.
//!
//! One task (`owner`) owns the socket; a [`Session`] and the streams it gives only pass
//! errands to it, so any of them may be dropped at any time. The guest is hostile: what it
//! sends must fit what was asked, is capped, and never makes this side grow. A guest that
//! breaks the protocol ends the session, and everything that waits gets the reason. Only the
//! hello has a deadline: how long a command or a file may take is the caller's to say.

mod disks;
mod error;
mod exec;
mod files;
mod hello;
mod owner;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

pub use error::SessionError;
pub use exec::{Command, Exec, ExecEnd, Stdio};
pub use files::{Entries, Unpacking};
pub use hello::random;
pub use stream::{StreamReader, StreamWriter};

use crate::guest::wire::{ByteString, CloneIdentity, Operation, RemoteError, Response, StreamId};
use hello::Agent;
use owner::{Ask, Errand, Fate};
use stream::Gate;

/// A conversation with an agent. Clones share it; it ends when the last of them and of its
/// streams is dropped.
#[derive(Clone, Debug)]
pub struct Session {
    errands: mpsc::UnboundedSender<Errand>,
    fate: Arc<Fate>,
    last: Arc<Last>,
    agent: Arc<Agent>,
}

/// The numbers given last.
#[derive(Debug, Default)]
struct Last {
    request: AtomicU64,
    stream: AtomicU32,
}

impl Session {
    /// Says hello and waits for a fresh answer, no longer than `deadline`. Bytes of an earlier
    /// conversation are skipped.
    ///
    /// Needs a tokio runtime, of which one thread is enough.
    ///
    /// # Errors
    /// No answer, or one in another version of the protocol.
    pub async fn connect(stream: UnixStream, deadline: Duration) -> Result<Self, SessionError> {
        let (stream, decoder, agent) = hello::exchange(stream, deadline).await?;
        let (errands, queue) = mpsc::unbounded_channel();
        let fate = Arc::new(Fate::default());
        tokio::spawn(owner::own(stream, decoder, queue, Arc::clone(&fate)));
        Ok(Self {
            errands,
            fate,
            last: Arc::default(),
            agent: Arc::new(agent),
        })
    }

    /// The agent's program version, escaped.
    pub fn program(&self) -> &str {
        &self.agent.program
    }

    /// Whether the guest's init gave up its boot: the agent says that it was started in
    /// emergency mode.
    pub fn is_emergency(&self) -> bool {
        self.agent.is_emergency
    }

    /// Waits until the session is over, and tells why. Whoever holds a session never sees it end
    /// by itself but by the guest's doing.
    pub async fn ended(&self) -> SessionError {
        self.errands.closed().await;
        self.fate.why()
    }

    /// Sets the guest's clock to this host's, as it is now.
    ///
    /// # Errors
    /// The agent may not, or the session ends.
    pub async fn set_clock(&self) -> Result<(), SessionError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let nanoseconds = now.subsec_nanos();
        self.done(Operation::SetClock {
            seconds,
            nanoseconds,
        })
        .await
    }

    /// Mixes 256 bytes of this host's random numbers into the guest's.
    ///
    /// # Errors
    /// The agent may not, or the session ends.
    pub async fn add_entropy(&self) -> Result<(), SessionError> {
        let bytes = hello::random::<256>()?.to_vec();
        let bytes = ByteString(bytes);
        self.done(Operation::AddEntropy { bytes }).await
    }

    /// Gives the guest a name, a machine id or a hardware address of its own.
    ///
    /// # Errors
    /// The agent may not or cannot, or the session ends.
    pub async fn identify(&self, identity: CloneIdentity) -> Result<(), SessionError> {
        self.done(Operation::Identify(identity)).await
    }

    /// Writes everything in the guest to its disks.
    ///
    /// # Errors
    /// The session ends.
    pub async fn sync(&self) -> Result<(), SessionError> {
        self.done(Operation::Sync).await
    }

    /// Powers the guest off, at once and without its init system. The machine's end follows.
    ///
    /// # Errors
    /// The agent may not. That the session ends is none: the power may be faster than words.
    pub async fn shutdown(&self) -> Result<(), SessionError> {
        match self.done(Operation::PowerOff).await {
            Err(SessionError::Closed) => Ok(()),
            result => result,
        }
    }

    /// Resets the guest in the same way.
    ///
    /// # Errors
    /// As for [`Session::shutdown`].
    pub async fn reboot(&self) -> Result<(), SessionError> {
        match self.done(Operation::Reboot).await {
            Err(SessionError::Closed) => Ok(()),
            result => result,
        }
    }

    async fn done(&self, op: Operation) -> Result<(), SessionError> {
        self.ask(op).await.map(drop)
    }

    /// Asks for what has no stream.
    async fn ask(&self, op: Operation) -> Result<Response, SessionError> {
        self.send(op, |_| ()).await.1
    }

    /// Sends a request; `add` fills in what it needs besides. Gives its id too.
    async fn send(
        &self,
        op: Operation,
        add: impl FnOnce(&mut Ask),
    ) -> (u64, Result<Response, SessionError>) {
        let id = self.last.request.fetch_add(1, Ordering::Relaxed) + 1;
        let (answer, waiting) = oneshot::channel();
        let mut ask = Ask::new(id, op, answer);
        add(&mut ask);
        if self.errands.send(Errand::Ask(Box::new(ask))).is_err() {
            return (id, Err(self.fate.why()));
        }
        let result = match waiting.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(SessionError::Refused(error)),
            Err(_) => Err(self.fate.why()),
        };
        (id, result)
    }

    /// The next number of a stream to the agent (odd) or from it (even).
    fn number(&self, to_agent: bool) -> Result<StreamId, SessionError> {
        // Two steps at a time keep the parity of whatever comes next simple: 2n+1 and 2n+2.
        let pair = self.last.stream.fetch_add(2, Ordering::Relaxed);
        let number = pair.checked_add(if to_agent { 1 } else { 2 });
        number.and_then(StreamId::new).ok_or_else(|| {
            let text = "all stream numbers of this session are used up";
            SessionError::Refused(RemoteError::new(
                crate::guest::wire::ErrorStage::Request,
                text,
            ))
        })
    }

    /// A stream from the guest: its number, the owner's end and ours.
    fn reader(
        &self,
    ) -> Result<
        (
            StreamId,
            mpsc::UnboundedSender<stream::Arrival>,
            StreamReader,
        ),
        SessionError,
    > {
        let id = self.number(false)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let (errands, fate) = (self.errands.clone(), Arc::clone(&self.fate));
        Ok((id, sender, StreamReader::new(id, receiver, errands, fate)))
    }

    /// A stream to the guest: its number, the owner's end and ours.
    fn writer(&self) -> Result<(StreamId, Arc<Gate>, StreamWriter), SessionError> {
        let id = self.number(true)?;
        let gate = Arc::new(Gate::default());
        let (errands, fate) = (self.errands.clone(), Arc::clone(&self.fate));
        let writer = StreamWriter::new(id, Arc::clone(&gate), errands, fate);
        Ok((id, gate, writer))
    }
}
