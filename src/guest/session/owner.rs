//! The one task that owns the socket: it writes what others ask for, and hands out what comes.
//! Whatever the guest sends is checked here against what was asked; the first thing that does
//! not fit ends the session.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::error::SessionError;
use super::stream::{Arrival, Gate};
use crate::guest::wire::{
    AgentMessage, Decoder, ExecEnd, Frame, Notice, Operation, ReceiveWindow, RemoteError, Reply,
    Request, Response, StreamId, WireError, parse, put_control, put_credit, put_data, put_end,
    put_stop,
};

/// Above this many bytes to be written, no further errand is taken.
const FULL: usize = 512 << 10;

/// What others ask the owner to do. What is queued is bounded: data by the windows, credits and
/// ends by the data, requests by bivouac itself.
#[derive(Debug)]
pub(super) enum Errand {
    /// A request, who waits for its answer, and what must exist once it is answered.
    Ask(Box<Ask>),
    /// Data on a stream to the guest, within its window.
    Data(StreamId, Vec<u8>),
    /// The end of a stream to the guest.
    End(StreamId),
    /// So much of a stream from the guest was read.
    Read(StreamId, usize),
    /// No more of a stream from the guest is wanted.
    Stop(StreamId),
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Ask {
    pub id: u64,
    pub op: Operation,
    pub answer: oneshot::Sender<Result<Response, RemoteError>>,
    pub readers: Vec<(StreamId, mpsc::UnboundedSender<Arrival>)>,
    pub writer: Option<(StreamId, Arc<Gate>)>,
    pub exec: Option<oneshot::Sender<ExecEnd>>,
    pub unpack: Option<oneshot::Sender<Result<u64, RemoteError>>>,
}

impl Ask {
    pub(super) fn new(
        id: u64,
        op: Operation,
        answer: oneshot::Sender<Result<Response, RemoteError>>,
    ) -> Self {
        Self {
            id,
            op,
            answer,
            readers: Vec::new(),
            writer: None,
            exec: None,
            unpack: None,
        }
    }
}

/// How the session ended, for everybody who still waits for something.
#[derive(Debug, Default)]
pub(super) struct Fate(Mutex<Option<SessionError>>);

impl Fate {
    /// Why the session is over.
    pub(super) fn why(&self) -> SessionError {
        let fate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fate.clone().unwrap_or(SessionError::Over)
    }

    pub(super) fn is_over(&self) -> bool {
        let fate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fate.is_some()
    }

    fn seal(&self, error: SessionError) {
        let mut fate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fate.get_or_insert(error);
    }
}

/// A stream from the guest. Its reader may be gone; what comes is then dropped.
#[derive(Debug)]
struct Incoming {
    reader: Option<mpsc::UnboundedSender<Arrival>>,
    window: ReceiveWindow,
}

/// All that is expected of the guest.
#[derive(Debug, Default)]
pub(super) struct Owner {
    asked: HashMap<u64, Box<Ask>>,
    incoming: HashMap<StreamId, Incoming>,
    outgoing: HashMap<StreamId, Arc<Gate>>,
    /// Streams to the guest that have ended: its credits may have crossed with that.
    ended: HashSet<StreamId>,
    execs: HashMap<u64, oneshot::Sender<ExecEnd>>,
    unpacks: HashMap<u64, oneshot::Sender<Result<u64, RemoteError>>>,
    out: Vec<u8>,
}

/// Runs until the session is over.
pub(super) async fn own(
    stream: UnixStream,
    decoder: Decoder,
    errands: mpsc::UnboundedReceiver<Errand>,
    fate: Arc<Fate>,
) {
    let mut owner = Owner::default();
    let error = owner.run(stream, decoder, errands).await;
    tracing::debug!("the session ended: {error}");
    // First the reason, then the channels: whoever finds one closed finds the reason too.
    fate.seal(error);
    for gate in owner.outgoing.values() {
        gate.close();
    }
    for ask in owner.asked.values() {
        if let Some((_, gate)) = &ask.writer {
            gate.close();
        }
    }
}

impl Owner {
    async fn run(
        &mut self,
        mut stream: UnixStream,
        mut decoder: Decoder,
        mut errands: mpsc::UnboundedReceiver<Errand>,
    ) -> SessionError {
        let (mut read, mut write) = stream.split();
        let mut buffer = vec![0; 64 << 10];
        loop {
            if let Err(error) = self.heed(&mut decoder) {
                return error;
            }
            tokio::select! {
                errand = errands.recv(), if self.out.len() < FULL => match errand {
                    Some(errand) => if let Err(error) = self.run_errand(errand) {
                        return error;
                    },
                    None => return SessionError::Over,
                },
                written = write.write(&self.out), if !self.out.is_empty() => match written {
                    Ok(written) => drop(self.out.drain(..written)),
                    Err(error) => return lost(error),
                },
                came = read.read(&mut buffer) => match came {
                    Ok(0) => return SessionError::Closed,
                    Ok(n) => decoder.push(&buffer[..n]),
                    Err(error) => return lost(error),
                },
            }
        }
    }

    fn run_errand(&mut self, errand: Errand) -> Result<(), SessionError> {
        match errand {
            Errand::Ask(ask) => {
                let (id, op) = (ask.id, ask.op.clone());
                match put_control(&mut self.out, &Request { id, op }) {
                    Ok(()) => drop(self.asked.insert(id, ask)),
                    // Ours, not the guest's: too many arguments.
                    Err(error) => {
                        let error = RemoteError::new(
                            crate::guest::wire::ErrorStage::Request,
                            error.to_string(),
                        );
                        let _ = ask.answer.send(Err(error));
                    }
                }
            }
            // Frames of a stream that never came to be, or is over, are nobody's.
            Errand::Data(id, bytes) if self.outgoing.contains_key(&id) => {
                put_data(&mut self.out, id, &bytes);
            }
            Errand::End(id) => {
                if self.outgoing.remove(&id).is_some() {
                    self.ended.insert(id);
                    put_end(&mut self.out, id);
                }
            }
            Errand::Read(id, bytes) => {
                if let Some(incoming) = self.incoming.get_mut(&id)
                    && let Some(credit) = incoming.window.read(bytes)
                {
                    put_credit(&mut self.out, id, credit);
                }
            }
            Errand::Stop(id) => {
                if let Some(incoming) = self.incoming.get_mut(&id) {
                    incoming.reader = None;
                    put_stop(&mut self.out, id);
                }
            }
            Errand::Data(..) => {}
        }
        Ok(())
    }

    /// Hands out every whole frame that has come.
    fn heed(&mut self, decoder: &mut Decoder) -> Result<(), SessionError> {
        while let Some(frame) = decoder.next()? {
            self.frame(frame)?;
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame) -> Result<(), SessionError> {
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
                let incoming = self.incoming.get_mut(&id).ok_or_else(|| not_open(id))?;
                incoming.window.received(id, bytes.len())?;
                if let Some(reader) = &incoming.reader {
                    // A reader that is just leaving says so by itself.
                    let _ = reader.send(Arrival::Data(bytes));
                }
            }
            Frame::End(id) => self.close(id, Arrival::End).ok_or_else(|| not_open(id))?,
            Frame::Credit(id, credit) => match self.outgoing.get(&id) {
                Some(gate) => gate.credited(id, credit)?,
                None if self.ended.contains(&id) => {}
                None => return Err(not_open(id).into()),
            },
            Frame::Stop(id) => match self.outgoing.remove(&id) {
                Some(gate) => {
                    gate.close();
                    self.ended.insert(id);
                    put_end(&mut self.out, id);
                }
                None if self.ended.contains(&id) => {}
                None => return Err(not_open(id).into()),
            },
        }
        Ok(())
    }

    fn close(&mut self, id: StreamId, last: Arrival) -> Option<()> {
        let incoming = self.incoming.remove(&id)?;
        if let Some(reader) = incoming.reader {
            let _ = reader.send(last);
        }
        Some(())
    }

    fn reply(&mut self, reply: Reply) -> Result<(), WireError> {
        let Some(ask) = self.asked.remove(&reply.id).map(|ask| *ask) else {
            let what = format!("an answer to request {}, which is not open", reply.id);
            return Err(WireError::OutOfOrder(what));
        };
        if let Ok(answer) = &reply.result {
            check(&ask.op, answer)?;
            // Who asked may have left meanwhile: then its streams are over as they begin.
            let has_left = ask.answer.is_closed();
            for (id, reader) in ask.readers {
                let window = ReceiveWindow::default();
                let reader = (!has_left).then_some(reader);
                if reader.is_none() {
                    put_stop(&mut self.out, id);
                }
                self.incoming.insert(id, Incoming { reader, window });
            }
            match ask.writer {
                Some((id, _)) if has_left => {
                    self.ended.insert(id);
                    put_end(&mut self.out, id);
                }
                writer => self.outgoing.extend(writer),
            }
            self.execs.extend(ask.exec.map(|end| (ask.id, end)));
            self.unpacks.extend(ask.unpack.map(|end| (ask.id, end)));
        }
        let _ = ask.answer.send(reply.result);
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
                let broken = Arrival::Broken(error);
                let not_open = WireError::NotOpen { kind: 2, stream };
                self.close(stream, broken).ok_or(not_open)?;
            }
            Notice::Violation { text } => {
                return Err(SessionError::Dismissed(text.chars().take(300).collect()));
            }
        }
        Ok(())
    }
}

/// Whether an answer is one that the operation can have.
fn check(op: &Operation, answer: &Response) -> Result<(), WireError> {
    let fits = match op {
        Operation::Exec(_) => matches!(answer, Response::Started { .. }),
        Operation::Read { .. } => matches!(answer, Response::Opened { stat: Some(_) }),
        Operation::List { .. }
        | Operation::Walk { .. }
        | Operation::TarOut { .. }
        | Operation::TarIn { .. } => {
            matches!(answer, Response::Opened { .. })
        }
        Operation::Stat { .. } => matches!(answer, Response::Stat(_)),
        Operation::ReadLink { .. } => matches!(answer, Response::Link(_)),
        Operation::StatFs { .. } => matches!(answer, Response::FileSystem(_)),
        Operation::Survey { .. } => matches!(answer, Response::Survey(_)),
        Operation::Mount { .. } => matches!(answer, Response::Mounted { .. }),
        Operation::Seed { .. } => matches!(answer, Response::Seeded(_)),
        _ => matches!(answer, Response::Done),
    };
    match fits {
        true => Ok(()),
        false => Err(WireError::OutOfOrder(
            "an answer to something else".to_owned(),
        )),
    }
}

/// A socket whose other end is gone says so in several ways.
pub(super) fn lost(error: std::io::Error) -> SessionError {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    match error.kind() {
        BrokenPipe | ConnectionReset => SessionError::Closed,
        _ => SessionError::Channel(Arc::new(error)),
    }
}
