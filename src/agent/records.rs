//! Records for the stream of a request.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::protocol::{ErrorStage, RemoteError, put_record};

/// How much is written at once, in bytes.
const BUFFER: usize = 64 << 10;

/// Writes records, of which it counts how many.
pub(super) struct Records<W: Write> {
    out: BufWriter<W>,
    record: Vec<u8>,
    count: u64,
    length: usize,
}

impl<W: Write> Records<W> {
    pub(super) fn new(data: W) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER, data),
            record: Vec::new(),
            count: 0,
            length: 0,
        }
    }

    /// Of the records so far, in bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn put(&mut self, value: &impl Serialize) -> Result<(), RemoteError> {
        self.record.clear();
        put_record(&mut self.record, value)
            .map_err(|error| RemoteError::new(ErrorStage::Request, error.to_string()))?;
        self.count += 1;
        self.length += self.record.len();
        self.out.write_all(&self.record).map_err(unwritten)
    }

    pub(super) fn finish(mut self) -> Result<u64, RemoteError> {
        self.out.flush().map_err(unwritten)?;
        Ok(self.count)
    }
}

fn unwritten(error: io::Error) -> RemoteError {
    RemoteError::of(ErrorStage::Process, "the pipe", error)
}
