//! Streams as the rest of bivouac sees them: [`StreamReader`] and [`StreamWriter`].

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::error::SessionError;
use super::owner::{Errand, Fate};
use crate::guest::wire::{MAX_DATA, RemoteError, SendWindow, StreamId};

/// What the owner of the socket passes to a reader. No more data than a window is ever here:
/// the owner refuses a guest that sends more.
#[derive(Debug)]
pub(super) enum Arrival {
    Data(Vec<u8>),
    End,
    Broken(RemoteError),
}

/// From the guest. Dropped, it tells the guest that no more is wanted.
#[derive(Debug)]
pub struct StreamReader {
    id: StreamId,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    errands: mpsc::UnboundedSender<Errand>,
    fate: Arc<Fate>,
    current: Vec<u8>,
    read: usize,
    over: bool,
}

impl StreamReader {
    pub(super) fn new(
        id: StreamId,
        arrivals: mpsc::UnboundedReceiver<Arrival>,
        errands: mpsc::UnboundedSender<Errand>,
        fate: Arc<Fate>,
    ) -> Self {
        Self {
            id,
            arrivals,
            errands,
            fate,
            current: Vec::new(),
            read: 0,
            over: false,
        }
    }
}

impl AsyncRead for StreamReader {
    /// End-of-file is the stream's own. A stream that broke off, or whose session ended, gives
    /// an error that holds the [`SessionError`].
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.read == this.current.len() {
            if this.over {
                return Poll::Ready(Ok(()));
            }
            match std::task::ready!(this.arrivals.poll_recv(context)) {
                Some(Arrival::Data(bytes)) => (this.current, this.read) = (bytes, 0),
                Some(Arrival::End) => this.over = true,
                Some(Arrival::Broken(error)) => {
                    this.over = true;
                    return Poll::Ready(Err(SessionError::Refused(error).into()));
                }
                None => return Poll::Ready(Err(this.fate.why().into())),
            }
        }
        let bytes = &this.current[this.read..];
        let taken = bytes.len().min(buffer.remaining());
        buffer.put_slice(&bytes[..taken]);
        this.read += taken;
        // Where the session is over there is nobody to credit.
        let _ = this.errands.send(Errand::Read(this.id, taken));
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.errands.send(Errand::Stop(self.id));
        }
    }
}

/// What a writer and the owner of the socket share.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<GateState>);

#[derive(Debug, Default)]
struct GateState {
    window: SendWindow,
    /// The guest wants no more, or the session is over.
    closed: bool,
    waiting: Option<Waker>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a credit of the guest's.
    pub(super) fn credited(
        &self,
        stream: StreamId,
        credit: u32,
    ) -> Result<(), crate::guest::wire::WireError> {
        let mut state = self.lock();
        state.window.credited(stream, credit)?;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
        Ok(())
    }

    /// Nothing more can be written.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }
}

/// To the guest. Shut down or dropped, it is at its end-of-file there.
#[derive(Debug)]
pub struct StreamWriter {
    id: StreamId,
    gate: Arc<Gate>,
    errands: mpsc::UnboundedSender<Errand>,
    fate: Arc<Fate>,
    ended: bool,
}

impl StreamWriter {
    pub(super) fn new(
        id: StreamId,
        gate: Arc<Gate>,
        errands: mpsc::UnboundedSender<Errand>,
        fate: Arc<Fate>,
    ) -> Self {
        Self {
            id,
            gate,
            errands,
            fate,
            ended: false,
        }
    }

    /// Whether the guest has said that it reads no more.
    pub fn is_closed(&self) -> bool {
        self.gate.lock().closed
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            let _ = self.errands.send(Errand::End(self.id));
        }
    }
}

impl AsyncWrite for StreamWriter {
    /// A guest that reads no more gives `BrokenPipe`.
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut state = self.gate.lock();
        if state.closed {
            return Poll::Ready(Err(match self.fate.is_over() {
                true => self.fate.why().into(),
                false => io::ErrorKind::BrokenPipe.into(),
            }));
        }
        let taken = bytes.len().min(state.window.left()).min(MAX_DATA);
        if taken == 0 && !bytes.is_empty() {
            state.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.window.sent(taken);
        drop(state);
        if taken > 0 {
            let errand = Errand::Data(self.id, bytes[..taken].to_vec());
            if self.errands.send(errand).is_err() {
                return Poll::Ready(Err(self.fate.why().into()));
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.end();
    }
}
