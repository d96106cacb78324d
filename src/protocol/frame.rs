//! Frames, and how each is written. The parent module has the table.

use serde::Serialize;

use super::{Hello, MAX_CONTROL, MAX_DATA, MAX_HELLO, PREAMBLE, StreamId, WireError};

pub(super) const HELLO: u8 = 1;
pub(super) const CONTROL: u8 = 2;
pub(super) const DATA: u8 = 3;
pub(super) const END: u8 = 4;
pub(super) const CREDIT: u8 = 5;
pub(super) const STOP: u8 = 6;
pub(super) const PLACED: u8 = 7;
pub(super) const TAKEN: u8 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A conversation begins.
    Hello(Hello),
    /// A message in JSON, for [`super::parse`].
    Control(Vec<u8>),
    /// Bytes of a stream, at least one.
    Data(StreamId, Vec<u8>),
    /// End-of-file of a stream.
    End(StreamId),
    /// The writer may send that many more bytes.
    Credit(StreamId, u32),
    /// The reader wants no more.
    Stop(StreamId),
    /// Bytes of a stream that are in the guest's memory: the physical address, and how many.
    Placed(StreamId, u64, u32),
    /// So many placed frames were read, in order.
    Taken(u32),
}

impl Frame {
    /// Writes the frame. Data longer than [`MAX_DATA`] becomes several frames; a hello or control
    /// message over its cap is an error.
    pub fn put(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Hello(hello) => put_hello(out, hello)?,
            Self::Control(json) => put_json(out, CONTROL, json, MAX_CONTROL)?,
            Self::Data(stream, bytes) => put_data(out, *stream, bytes),
            Self::End(stream) => put_end(out, *stream),
            Self::Credit(stream, bytes) => put_credit(out, *stream, *bytes),
            Self::Stop(stream) => put_stop(out, *stream),
            Self::Placed(stream, address, length) => put_placed(out, *stream, *address, *length),
            Self::Taken(count) => put_taken(out, *count),
        }
        Ok(())
    }

    pub fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => HELLO,
            Self::Control(_) => CONTROL,
            Self::Data(..) => DATA,
            Self::End(_) => END,
            Self::Credit(..) => CREDIT,
            Self::Stop(_) => STOP,
            Self::Placed(..) => PLACED,
            Self::Taken(_) => TAKEN,
        }
    }
}

fn header(out: &mut Vec<u8>, length: usize, kind: u8, stream: u32) {
    // Every caller capped the length.
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(&stream.to_le_bytes());
}

/// Writes a hello after its preamble. Fails if the program version makes it exceed its cap.
pub fn put_hello(out: &mut Vec<u8>, hello: &Hello) -> Result<(), WireError> {
    let json = serde_json::to_vec(hello).map_err(|error| WireError::malformed("hello", &error))?;
    let mut bytes = PREAMBLE.to_vec();
    put_json(&mut bytes, HELLO, &json, MAX_HELLO)?;
    out.append(&mut bytes);
    Ok(())
}

/// Writes a message. Fails if it exceeds the cap.
pub fn put_control<M: Serialize>(out: &mut Vec<u8>, message: &M) -> Result<(), WireError> {
    let json =
        serde_json::to_vec(message).map_err(|error| WireError::malformed("message", &error))?;
    put_json(out, CONTROL, &json, MAX_CONTROL)
}

fn put_json(out: &mut Vec<u8>, kind: u8, json: &[u8], limit: usize) -> Result<(), WireError> {
    if json.len() > limit {
        return Err(WireError::Oversized {
            kind,
            length: u32::try_from(json.len()).unwrap_or(u32::MAX),
            limit,
        });
    }
    header(out, json.len(), kind, 0);
    out.extend_from_slice(json);
    Ok(())
}

/// Writes data in as many frames as needed; none for no bytes.
pub fn put_data(out: &mut Vec<u8>, stream: StreamId, bytes: &[u8]) {
    for part in bytes.chunks(MAX_DATA) {
        header(out, part.len(), DATA, stream.0.get());
        out.extend_from_slice(part);
    }
}

pub fn put_end(out: &mut Vec<u8>, stream: StreamId) {
    header(out, 0, END, stream.0.get());
}

pub fn put_credit(out: &mut Vec<u8>, stream: StreamId, bytes: u32) {
    header(out, 4, CREDIT, stream.0.get());
    out.extend_from_slice(&bytes.to_le_bytes());
}

pub fn put_stop(out: &mut Vec<u8>, stream: StreamId) {
    header(out, 0, STOP, stream.0.get());
}

pub fn put_placed(out: &mut Vec<u8>, stream: StreamId, address: u64, length: u32) {
    header(out, 12, PLACED, stream.0.get());
    out.extend_from_slice(&address.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
}

pub fn put_taken(out: &mut Vec<u8>, count: u32) {
    header(out, 4, TAKEN, 0);
    out.extend_from_slice(&count.to_le_bytes());
}
