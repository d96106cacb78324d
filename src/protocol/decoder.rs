//! Bytes to frames. Holds no more than one frame and what was pushed last: memory is allocated
//! for bytes that arrived, never for a length that was announced.

use super::frame::{CONTROL, CREDIT, DATA, END, HELLO, PLACED, STOP, TAKEN};
use super::{
    Frame, HEADER, Hello, MAX_CONTROL, MAX_DATA, MAX_HELLO, PREAMBLE, StreamId, WireError, parse,
};

/// Takes bytes in pieces of any size and returns frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where in `buffer` the next frame begins.
    start: usize,
    /// A hello has arrived. Until then, everything else is skipped.
    in_conversation: bool,
    skipped: u64,
    failed: Option<WireError>,
}

impl Decoder {
    /// A decoder that is waiting for a hello.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes. Call [`Decoder::next`] until it has no more before pushing again: the decoder
    /// keeps all that is pushed.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame; `None` if more bytes are needed. An error repeats on every further
    /// call. There is none while waiting for a hello.
    // Not an iterator: `None` is not its end.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Frame>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let found = match self.in_conversation {
            true => frame(&self.buffer[self.start..]),
            false => Ok(self.seek()),
        };
        match found {
            Ok(Some((frame, used))) => {
                self.start += used;
                self.in_conversation = true;
                Ok(Some(frame))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.failed = Some(error.clone());
                self.buffer = Vec::new();
                self.start = 0;
                Err(error)
            }
        }
    }

    /// Drops everything and waits for a hello. For when the other end hung up.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Skips to the next hello. For when the one that arrived had another receiver.
    pub fn seek_again(&mut self) {
        self.in_conversation = false;
    }

    /// How many bytes were skipped while waiting for a hello.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    pub fn held(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn seek(&mut self) -> Option<(Frame, usize)> {
        loop {
            let rest = &self.buffer[self.start..];
            let skip = match rest.iter().position(|&byte| byte == PREAMBLE[0]) {
                None => rest.len(),
                Some(0) => match hello(rest) {
                    Ok(found) => return found,
                    Err(_) => 1,
                },
                Some(skip) => skip,
            };
            if skip == 0 {
                return None;
            }
            self.start += skip;
            self.skipped += skip as u64;
        }
    }
}

struct Header {
    length: usize,
    kind: u8,
    stream: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first()?;
        let stream = rest.first_chunk::<4>()?;
        Some(Self {
            length: u32::from_le_bytes(*length) as usize,
            kind: *kind,
            stream: u32::from_le_bytes(*stream),
        })
    }

    /// Checks it against the parent module's table.
    fn check(&self) -> Result<(), WireError> {
        let (kind, length) = (self.kind, self.length as u32);
        let (min, max) = match kind {
            HELLO => (1, MAX_HELLO),
            CONTROL => (1, MAX_CONTROL),
            DATA => (1, MAX_DATA),
            END | STOP => (0, 0),
            CREDIT | TAKEN => (4, 4),
            PLACED => (12, 12),
            _ => return Err(WireError::Kind(kind)),
        };
        if self.length > max && min < max {
            let limit = max;
            return Err(WireError::Oversized {
                kind,
                length,
                limit,
            });
        }
        if !(min..=max).contains(&self.length) {
            return Err(WireError::Length { kind, length });
        }
        if (self.stream == 0) != matches!(kind, HELLO | CONTROL | TAKEN) {
            let stream = self.stream;
            return Err(WireError::StreamOfKind { kind, stream });
        }
        Ok(())
    }
}

/// The frame at the beginning of `bytes` and its size.
fn frame(bytes: &[u8]) -> Result<Option<(Frame, usize)>, WireError> {
    let lead = bytes.len().min(4);
    if lead > 0 && bytes[..lead] == PREAMBLE[..lead] {
        return match lead {
            4 => hello(bytes),
            _ => Ok(None),
        };
    }
    let Some(header) = Header::read(bytes) else {
        return Ok(None);
    };
    header.check()?;
    if header.kind == HELLO {
        return Err(WireError::OutOfOrder("a hello without preamble".to_owned()));
    }
    let end = HEADER + header.length;
    let Some(payload) = bytes.get(HEADER..end) else {
        return Ok(None);
    };
    let frame = match (header.kind, StreamId::new(header.stream)) {
        (CONTROL, _) => Frame::Control(payload.to_vec()),
        (DATA, Some(stream)) => Frame::Data(stream, payload.to_vec()),
        (END, Some(stream)) => Frame::End(stream),
        (STOP, Some(stream)) => Frame::Stop(stream),
        (PLACED, Some(stream)) => {
            let (address, length) = payload.split_at(size_of::<u64>());
            let address = address.first_chunk().copied().unwrap_or_default();
            Frame::Placed(stream, u64::from_le_bytes(address), number(length))
        }
        (TAKEN, _) => Frame::Taken(number(payload)),
        (_, Some(stream)) => Frame::Credit(stream, number(payload)),
        (kind, None) => {
            let stream = header.stream;
            return Err(WireError::StreamOfKind { kind, stream });
        }
    };
    Ok(Some((frame, end)))
}

fn number(payload: &[u8]) -> u32 {
    u32::from_le_bytes(payload.first_chunk().copied().unwrap_or_default())
}

/// The preamble and hello at the beginning of `bytes`, and their size.
fn hello(bytes: &[u8]) -> Result<Option<(Frame, usize)>, WireError> {
    let lead = bytes.len().min(PREAMBLE.len());
    if bytes[..lead] != PREAMBLE[..lead] {
        return Err(WireError::Preamble);
    }
    let rest = &bytes[lead..];
    let Some(header) = Header::read(rest) else {
        return Ok(None);
    };
    if header.kind != HELLO {
        return Err(WireError::Preamble);
    }
    header.check()?;
    let end = HEADER + header.length;
    let payload = &rest[HEADER..rest.len().min(end)];
    // UTF-8 has no such byte: this hello was torn, and another preamble may begin here. Waiting
    // for the announced length would swallow it.
    if payload.contains(&PREAMBLE[0]) {
        return Err(WireError::Preamble);
    }
    if payload.len() < header.length {
        return Ok(None);
    }
    let hello: Hello = parse("hello", payload)?;
    Ok(Some((Frame::Hello(hello), PREAMBLE.len() + end)))
}
