//! Values in JSON, one a line, for the stream of a request.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::protocol::{ErrorStage, RemoteError};

/// Values in JSON, one a line.
pub(super) struct Lines<'a> {
    out: BufWriter<&'a File>,
    count: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(data: &'a File) -> Self {
        Self {
            out: BufWriter::with_capacity(64 << 10, data),
            count: 0,
        }
    }

    pub(super) fn put(&mut self, value: &impl Serialize) -> Result<(), RemoteError> {
        let mut line = serde_json::to_vec(value).unwrap_or_default();
        line.push(b'\n');
        self.count += 1;
        self.out.write_all(&line).map_err(unwritten)
    }

    pub(super) fn finish(mut self) -> Result<u64, RemoteError> {
        self.out.flush().map_err(unwritten)?;
        Ok(self.count)
    }
}

fn unwritten(error: io::Error) -> RemoteError {
    RemoteError::of(ErrorStage::Process, "the pipe", error)
}
