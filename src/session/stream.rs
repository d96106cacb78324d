//! Streams as the rest of bivouac sees them: [`StreamReader`] and [`StreamWriter`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::error::SessionError;
use super::messages::{ActorCommand, CloseReason, Incoming, SharedSendWindow};
use crate::protocol::StreamId;

/// A stream from the guest. Dropping it tells the guest that no more is wanted.
#[derive(Debug)]
pub struct StreamReader {
    pub(super) id: StreamId,
    pub(super) incoming: mpsc::UnboundedReceiver<Incoming>,
    pub(super) actor: mpsc::UnboundedSender<ActorCommand>,
    pub(super) reason: Arc<CloseReason>,
    /// What arrived last, and how much of it was read.
    pub(super) current: (Vec<u8>, usize),
    pub(super) over: bool,
}

impl AsyncRead for StreamReader {
    /// Reads to the stream's own end-of-file. If the stream broke off or its session ended, the
    /// error holds the [`SessionError`].
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.current.1 == this.current.0.len() {
            if this.over {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.incoming.poll_recv(context)) {
                Some(Incoming::Data(bytes)) => this.current = (bytes, 0),
                Some(Incoming::End) => this.over = true,
                Some(Incoming::Broken(error)) => {
                    this.over = true;
                    return Poll::Ready(Err(SessionError::Refused(error).into()));
                }
                None => return Poll::Ready(Err(this.reason.get().into())),
            }
        }
        let (bytes, read) = &mut this.current;
        let rest = &bytes[*read..];
        let taken = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..taken]);
        *read += taken;
        // Fails if the session is over; then no credit is needed.
        let _ = this.actor.send(ActorCommand::Read(this.id, taken));
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.actor.send(ActorCommand::Stop(self.id));
        }
    }
}

/// A stream to the guest. Shutting it down or dropping it sends end-of-file.
#[derive(Debug)]
pub struct StreamWriter {
    pub(super) id: StreamId,
    pub(super) window: Arc<SharedSendWindow>,
    pub(super) actor: mpsc::UnboundedSender<ActorCommand>,
    pub(super) reason: Arc<CloseReason>,
    pub(super) ended: bool,
}

impl StreamWriter {
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            let _ = self.actor.send(ActorCommand::End(self.id));
        }
    }
}

impl AsyncWrite for StreamWriter {
    /// Fails with `BrokenPipe` if the guest reads no more.
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let Some(taken) = ready!(self.window.poll_take(bytes.len(), context)) else {
            return Poll::Ready(Err(match self.reason.is_set() {
                true => self.reason.get().into(),
                false => io::ErrorKind::BrokenPipe.into(),
            }));
        };
        if taken > 0 {
            let data = ActorCommand::Data(self.id, bytes[..taken].to_vec());
            if self.actor.send(data).is_err() {
                return Poll::Ready(Err(self.reason.get().into()));
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
