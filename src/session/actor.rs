//! The one task that owns the socket: it writes what the session asks for, and hands out what
//! arrives. Everything the guest sends is checked against what was asked; the first mismatch
//! ends the session.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::error::SessionError;
use super::messages::{
    ActorCommand, CloseReason, Closing, Hold, Incoming, PendingRequest, ReadMemory,
    SharedSendWindow,
};
use crate::protocol::{
    AgentMessage, Decoder, ExecEnd, Frame, Notice, ReceiveWindow, RemoteError, Reply, StreamId,
    WireError, parse, put_credit, put_data, put_end, put_stop, put_taken,
};
use crate::sys;

/// While more bytes than this wait to be written, no further command is taken.
const FULL: usize = 512 << 10;

/// How often the kernel is asked whether the agent has read everything.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A stream from the guest. Once its reader is gone, what arrives is dropped.
#[derive(Debug)]
struct Inbound {
    reader: Option<mpsc::UnboundedSender<Incoming>>,
    window: ReceiveWindow,
}

/// Everything that the guest may send next.
#[derive(Default)]
struct Actor {
    pending: HashMap<u64, Box<PendingRequest>>,
    inbound: HashMap<StreamId, Inbound>,
    outbound: HashMap<StreamId, Arc<SharedSendWindow>>,
    /// Streams to the guest that have ended: a late credit for one is no violation.
    ended: HashSet<StreamId>,
    execs: HashMap<u64, oneshot::Sender<ExecEnd>>,
    unpacks: HashMap<u64, oneshot::Sender<Result<u64, RemoteError>>>,
    out: Vec<u8>,
    hold: Option<Hold>,
    memory: Option<Box<ReadMemory>>,
}

pub(super) async fn run(
    mut stream: UnixStream,
    decoder: Decoder,
    mut commands: mpsc::UnboundedReceiver<ActorCommand>,
    mut closing: mpsc::Receiver<Closing>,
    reason: Arc<CloseReason>,
) {
    let mut actor = Actor::default();
    let mut wanted = None;
    let error = tokio::select! {
        biased;
        Some(closing) = closing.recv() => {
            wanted = Some(closing.stream);
            closing.reason
        }
        error = actor.run(&mut stream, decoder, &mut commands) => error,
    };
    tracing::debug!("the session ended: {error}");
    // The reason before the channels: whoever finds a channel closed must find the reason too.
    reason.set(error);
    for window in actor.outbound.values() {
        window.close();
    }
    if let Some(wanted) = wanted {
        let _ = wanted.send(stream);
    }
}

impl Actor {
    async fn run(
        &mut self,
        stream: &mut UnixStream,
        mut decoder: Decoder,
        commands: &mut mpsc::UnboundedReceiver<ActorCommand>,
    ) -> SessionError {
        let (mut read, mut write) = stream.split();
        let mut buffer = vec![0; 64 << 10];
        loop {
            if let Err(error) = self.handle_frames(&mut decoder) {
                return error;
            }
            let is_held = self.is_held(write.as_ref());
            tokio::select! {
                () = Self::held(&mut self.hold), if self.hold.is_some() => {}
                command = commands.recv(), if self.hold.is_none() && self.out.len() < FULL => match command {
                    Some(command) => self.execute(command),
                    None => return SessionError::Over,
                },
                written = write.write(&self.out), if !is_held && !self.out.is_empty() => match written {
                    Ok(written) => drop(self.out.drain(..written)),
                    Err(error) => return SessionError::of_channel(error),
                },
                received = read.read(&mut buffer) => match received {
                    Ok(0) => return SessionError::Closed,
                    Ok(n) => decoder.push(&buffer[..n]),
                    Err(error) => return SessionError::of_channel(error),
                },
            }
        }
    }

    /// Whether nothing may be sent. Says so if the agent has just received the last byte.
    fn is_held(&mut self, socket: &UnixStream) -> bool {
        let Some(Hold { ready, .. }) = &mut self.hold else {
            return false;
        };
        let is_read = || sys::unread_by_peer(socket.as_fd()).is_ok_and(|unread| unread == 0);
        if ready.is_some()
            && self.out.is_empty()
            && is_read()
            && let Some(ready) = ready.take()
            && ready.send(()).is_err()
        {
            // It took too long for whoever asked.
            self.hold = None;
            return false;
        }
        self.hold.as_ref().is_some_and(|hold| hold.ready.is_none())
    }

    /// Waits until it is time to look again whether the agent has read everything, or for the release.
    async fn held(hold: &mut Option<Hold>) {
        let released = match hold {
            Some(Hold {
                ready: Some(ready), ..
            }) => {
                tokio::select! {
                    () = ready.closed() => true,
                    () = tokio::time::sleep(LOOK_AGAIN) => false,
                }
            }
            Some(Hold { released, .. }) => {
                let _ = released.await;
                true
            }
            None => false,
        };
        if released {
            *hold = None;
        }
    }

    /// Commands for a stream that never began, or is over, are ignored.
    fn execute(&mut self, command: ActorCommand) {
        match command {
            ActorCommand::Request(mut pending) => {
                self.out.append(&mut pending.frame);
                self.pending.insert(pending.id, pending);
            }
            ActorCommand::Hold(hold) => self.hold = Some(hold),
            ActorCommand::Data(id, bytes) => {
                if self.outbound.contains_key(&id) {
                    put_data(&mut self.out, id, &bytes);
                }
            }
            ActorCommand::Memory(memory) => self.memory = Some(memory),
            ActorCommand::End(id) => {
                if self.outbound.remove(&id).is_some() {
                    self.end(id);
                }
            }
            ActorCommand::Read(id, bytes) => {
                if let Some(inbound) = self.inbound.get_mut(&id)
                    && let Some(credit) = inbound.window.read(bytes)
                {
                    put_credit(&mut self.out, id, credit);
                }
            }
            ActorCommand::Stop(id) => {
                if let Some(inbound) = self.inbound.get_mut(&id) {
                    inbound.reader = None;
                    put_stop(&mut self.out, id);
                }
            }
        }
    }

    fn end(&mut self, id: StreamId) {
        self.ended.insert(id);
        put_end(&mut self.out, id);
    }

    fn handle_frames(&mut self, decoder: &mut Decoder) -> Result<(), SessionError> {
        let mut taken = 0;
        while let Some(frame) = decoder.next()? {
            taken += u32::from(matches!(frame, Frame::Placed(..)));
            self.handle(frame)?;
        }
        if taken > 0 {
            put_taken(&mut self.out, taken);
        }
        Ok(())
    }

    fn handle(&mut self, frame: Frame) -> Result<(), SessionError> {
        let kind = frame.kind();
        let not_open = |stream| WireError::NotOpen { kind, stream };
        match frame {
            Frame::Hello(_) => {
                return Err(WireError::OutOfOrder("a second hello".to_owned()).into());
            }
            Frame::Control(json) => match parse("message", &json)? {
                AgentMessage::Reply(reply) => self.reply(reply)?,
                AgentMessage::Notice(notice) => self.notice(notice)?,
            },
            Frame::Data(id, bytes) => {
                if let Some(reader) = self.receiver(id, kind, bytes.len())? {
                    // Fails if the reader was just dropped; its `Stop` is in the queue.
                    let _ = reader.send(Incoming::Data(bytes));
                }
            }
            Frame::Placed(id, address, length) => {
                let length = length as usize;
                if let Some(reader) = self.receiver(id, kind, length)?.cloned() {
                    let _ = reader.send(Incoming::Data(self.placed(address, length)?));
                }
            }
            Frame::Taken(_) => {
                return Err(WireError::OutOfOrder("a taken frame".to_owned()).into());
            }
            Frame::End(id) => self.close(id, Incoming::End).ok_or_else(|| not_open(id))?,
            Frame::Credit(id, credit) => match self.outbound.get(&id) {
                Some(window) => window.credited(id, credit)?,
                None if self.ended.contains(&id) => {}
                None => return Err(not_open(id).into()),
            },
            Frame::Stop(id) => match self.outbound.remove(&id) {
                Some(window) => {
                    window.close();
                    self.end(id);
                }
                None if self.ended.contains(&id) => {}
                None => return Err(not_open(id).into()),
            },
        }
        Ok(())
    }

    /// Who reads a stream on which so many bytes arrive; `None` if nobody does any more.
    fn receiver(
        &mut self,
        stream: StreamId,
        kind: u8,
        length: usize,
    ) -> Result<Option<&mpsc::UnboundedSender<Incoming>>, WireError> {
        let inbound = self.inbound.get_mut(&stream);
        let inbound = inbound.ok_or(WireError::NotOpen { kind, stream })?;
        inbound.window.received(stream, length)?;
        Ok(inbound.reader.as_ref())
    }

    /// Bytes in the guest's memory, no more than a window.
    fn placed(&self, address: u64, length: usize) -> Result<Vec<u8>, WireError> {
        let mut bytes = vec![0; length];
        let read = self.memory.as_ref().map(|read| read(address, &mut bytes));
        match read {
            Some(Ok(())) if length > 0 => Ok(bytes),
            _ => {
                let what = format!("{length} bytes of data at {address:#x}");
                Err(WireError::OutOfOrder(what))
            }
        }
    }

    fn close(&mut self, id: StreamId, last: Incoming) -> Option<()> {
        let inbound = self.inbound.remove(&id)?;
        if let Some(reader) = inbound.reader {
            let _ = reader.send(last);
        }
        Some(())
    }

    fn reply(&mut self, reply: Reply) -> Result<(), WireError> {
        let id = reply.id;
        let Some(pending) = self.pending.remove(&id) else {
            let what = format!("an answer to request {id}, which is not open");
            return Err(WireError::OutOfOrder(what));
        };
        let succeeded = reply.result.is_ok();
        let attached = pending.attached;
        let is_wanted = (pending.complete)(reply.result)?;
        if !succeeded {
            return Ok(());
        }
        // If the caller has left, the streams end as they begin.
        for (id, reader) in attached.readers {
            let reader = is_wanted.then_some(reader);
            if reader.is_none() {
                put_stop(&mut self.out, id);
            }
            let window = ReceiveWindow::default();
            self.inbound.insert(id, Inbound { reader, window });
        }
        match attached.writer {
            Some((id, _)) if !is_wanted => self.end(id),
            writer => self.outbound.extend(writer),
        }
        self.execs.extend(attached.exec.map(|end| (id, end)));
        self.unpacks.extend(attached.unpack.map(|end| (id, end)));
        Ok(())
    }

    fn notice(&mut self, notice: Notice) -> Result<(), SessionError> {
        let unasked = |what: &str, id| {
            let what = format!("the end of {what} {id}, which does not run");
            SessionError::from(WireError::OutOfOrder(what))
        };
        match notice {
            Notice::Ended { exec, end } => {
                let waiting = self.execs.remove(&exec);
                let _ = waiting.ok_or_else(|| unasked("command", exec))?.send(end);
            }
            Notice::Unpacked { id, result } => {
                let waiting = self.unpacks.remove(&id);
                let _ = waiting.ok_or_else(|| unasked("request", id))?.send(result);
            }
            Notice::Broken { stream, error } => {
                let not_open = WireError::NotOpen { kind: 2, stream };
                self.close(stream, Incoming::Broken(error))
                    .ok_or(not_open)?;
            }
            Notice::Violation { text } => {
                return Err(SessionError::Dismissed(text.chars().take(300).collect()));
            }
        }
        Ok(())
    }
}
