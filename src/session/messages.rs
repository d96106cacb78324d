//! What a [`super::Session`] and its streams exchange with the actor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::error::SessionError;
use crate::protocol::crypt::LockedVolume;
use crate::protocol::disks::{SkippedMount, Survey};
use crate::protocol::inject::Injection;
use crate::protocol::{
    Attributes, ByteString, ExecEnd, FileSystem, MAX_DATA, Operation, RemoteError, Request,
    Response, SendWindow, Stat, StreamId, WireError, put_control,
};

/// What the actor is asked to do. The queue is bounded by what fills it: data by the windows,
/// credits and ends by the data, requests by bivouac itself.
pub(super) enum ActorCommand {
    Request(Box<PendingRequest>),
    Hold(Hold),
    /// Data on a stream to the guest, within its window.
    Data(StreamId, Vec<u8>),
    End(StreamId),
    /// That many bytes of a stream from the guest were read.
    Read(StreamId, usize),
    /// No more of a stream from the guest is wanted.
    Stop(StreamId),
    /// Where placed data is read.
    Memory(Box<ReadMemory>),
}

/// Reads the guest's physical memory, at an address, to the end of a buffer. Fails outside of it.
pub type ReadMemory = dyn Fn(u64, &mut [u8]) -> std::io::Result<()> + Send;

/// Ends the session for a reason, and asks for its stream.
pub(super) struct Closing {
    pub reason: SessionError,
    pub stream: oneshot::Sender<UnixStream>,
}

/// Send nothing until it is released.
#[derive(Debug)]
pub(super) struct Hold {
    /// Used when the agent has everything that was sent before.
    pub ready: Option<oneshot::Sender<()>>,
    /// Ready when the other end is dropped.
    pub released: oneshot::Receiver<()>,
}

/// Passes the answer on, and returns whether the caller still waits for it. A response of the wrong
/// type is an error.
pub(super) type Complete =
    dyn FnOnce(Result<Response, RemoteError>) -> Result<bool, WireError> + Send;

pub(super) struct PendingRequest {
    pub id: u64,
    pub frame: Vec<u8>,
    pub attached: Attached,
    pub complete: Box<Complete>,
}

/// What begins to exist when a request succeeds.
#[derive(Debug, Default)]
pub(super) struct Attached {
    pub readers: Vec<(StreamId, mpsc::UnboundedSender<Incoming>)>,
    pub writer: Option<(StreamId, Arc<SharedSendWindow>)>,
    pub exec: Option<oneshot::Sender<ExecEnd>>,
    pub unpack: Option<oneshot::Sender<Result<u64, RemoteError>>>,
}

impl PendingRequest {
    /// A request, and where its answer arrives. Fails if the request is over the protocol's cap,
    /// as with too many arguments.
    pub(super) fn new<A: Answer>(
        id: u64,
        op: Operation,
        attached: Attached,
    ) -> Result<(Self, oneshot::Receiver<Result<A, RemoteError>>), WireError> {
        let mut frame = Vec::new();
        put_control(&mut frame, &Request { id, op })?;
        let (sender, receiver) = oneshot::channel();
        let complete = |result: Result<Response, RemoteError>| {
            let answer = match result {
                Ok(response) => Ok(A::from_response(response).ok_or_else(|| {
                    WireError::OutOfOrder("an answer to something else".to_owned())
                })?),
                Err(error) => Err(error),
            };
            Ok(sender.send(answer).is_ok())
        };
        let pending = Self {
            id,
            frame,
            attached,
            complete: Box::new(complete),
        };
        Ok((pending, receiver))
    }
}

/// What a survey that stops for keys has come to.
#[derive(Debug)]
pub(crate) enum SurveyStep {
    Locked(Vec<LockedVolume>),
    Done(Box<Survey>),
}

impl Answer for SurveyStep {
    fn from_response(response: Response) -> Option<Self> {
        match response {
            Response::Locked(volumes) => Some(Self::Locked(volumes)),
            Response::Survey(survey) => Some(Self::Done(survey)),
            _ => None,
        }
    }
}

pub(super) trait Answer: Send + Sized + 'static {
    /// `None` for a response that belongs to another type of request.
    fn from_response(response: Response) -> Option<Self>;
}

/// The program of a command was executed; its process id.
pub(super) struct Started(pub i32);
pub(super) struct Opened;
pub(super) struct OpenedFile(pub Stat);

macro_rules! answers {
    ($($type:ty: $response:pat => $value:expr;)*) => {
        $(impl Answer for $type {
            fn from_response(response: Response) -> Option<Self> {
                match response {
                    $response => Some($value),
                    _ => None,
                }
            }
        })*
    };
}

answers! {
    (): Response::Done => ();
    Started: Response::Started { pid } => Started(pid);
    Opened: Response::Opened { .. } => Opened;
    OpenedFile: Response::Opened { stat: Some(stat) } => OpenedFile(stat);
    Stat: Response::Stat(stat) => stat;
    ByteString: Response::Link(target) => target;
    Attributes: Response::Attributes(attributes) => attributes;
    FileSystem: Response::FileSystem(filesystem) => filesystem;
    Survey: Response::Survey(survey) => *survey;
    Vec<SkippedMount>: Response::Mounted { failed } => failed;
    Injection: Response::Injected(injection) => injection;
}

/// Why the session ended, for everything that still waits on it.
#[derive(Debug, Default)]
pub(super) struct CloseReason(Mutex<Option<SessionError>>);

impl CloseReason {
    pub(super) fn get(&self) -> SessionError {
        self.lock().clone().unwrap_or(SessionError::Over)
    }

    pub(super) fn is_set(&self) -> bool {
        self.lock().is_some()
    }

    /// The first reason stays.
    pub(super) fn set(&self, error: SessionError) {
        self.lock().get_or_insert(error);
    }

    fn lock(&self) -> MutexGuard<'_, Option<SessionError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the actor passes to a [`super::StreamReader`]. The data never exceeds a window: the actor
/// refuses a guest that sends more.
#[derive(Debug)]
pub(super) enum Incoming {
    Data(Vec<u8>),
    End,
    Broken(RemoteError),
}

/// A [`SendWindow`] that a [`super::StreamWriter`] shares with the actor.
#[derive(Debug, Default)]
pub(super) struct SharedSendWindow(Mutex<SendState>);

#[derive(Debug, Default)]
struct SendState {
    window: SendWindow,
    /// The guest wants no more, or the session is over.
    closed: bool,
    waiting: Option<Waker>,
}

impl SharedSendWindow {
    fn lock(&self) -> MutexGuard<'_, SendState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `wanted` bytes from the window, as soon as it has any. `None` once closed.
    pub(super) fn poll_take(
        &self,
        wanted: usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<usize>> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(None);
        }
        let taken = wanted.min(state.window.left()).min(MAX_DATA);
        if taken == 0 && wanted > 0 {
            state.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.window.sent(taken);
        Poll::Ready(Some(taken))
    }

    pub(super) fn credited(&self, stream: StreamId, credit: u32) -> Result<(), WireError> {
        let mut state = self.lock();
        state.window.credited(stream, credit)?;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
        Ok(())
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }
}
