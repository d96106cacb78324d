//! A file that a program has open. Whoever reads it from its beginning gets it as one stream.

use std::collections::VecDeque;

use tokio::io::AsyncReadExt;

use crate::protocol::PathAt;
use crate::session::{Session, SessionError, StreamReader};

/// Files of this size are read whole at the first read, in bytes.
const SMALL: u64 = 256 << 10;

/// How much of what was read is kept: the kernel's requests for one file may overtake each other.
const KEPT: usize = 2 << 20;

/// How far ahead of the stream a read may begin that is still served by it.
const AHEAD: u64 = 2 << 20;

#[derive(Debug)]
pub struct Reader {
    at: PathAt,
    size: u64,
    stream: Option<StreamReader>,
    /// What was read last, and where it begins in the file.
    buffer: VecDeque<u8>,
    start: u64,
    is_over: bool,
}

impl Reader {
    pub fn new(at: PathAt, size: u64) -> Self {
        Self {
            at,
            size,
            stream: None,
            buffer: VecDeque::new(),
            start: 0,
            is_over: false,
        }
    }

    fn end(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// The bytes at `offset`, fewer than `length` at the file's end only.
    pub async fn read(
        &mut self,
        session: &Session,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, SessionError> {
        let is_near = offset >= self.start && offset <= self.end() + AHEAD;
        let is_there = offset.saturating_add(length) <= self.end();
        if !is_near || !is_there && self.stream.is_none() && !self.is_over {
            self.restart(session, offset, length).await?;
        }
        while !self.is_over && self.end() < offset.saturating_add(length) {
            self.fill().await?;
        }
        let skipped = offset.saturating_sub(self.start) as usize;
        let read = self.buffer.iter().skip(skipped).take(length as usize);
        let read = read.copied().collect();
        let excess = (skipped + length as usize).saturating_sub(KEPT);
        let excess = excess.min(self.buffer.len());
        self.buffer.drain(..excess);
        self.start += excess as u64;
        Ok(read)
    }

    /// Begins to read at `offset`: to the end of the file if that looks like the use of the whole.
    async fn restart(
        &mut self,
        session: &Session,
        offset: u64,
        length: u64,
    ) -> Result<(), SessionError> {
        let goes_on = offset == self.end() || offset == 0;
        let wanted = match goes_on {
            true if self.size <= SMALL => Some(SMALL),
            true => None,
            false => Some(length),
        };
        self.stream = None;
        self.buffer.clear();
        (self.start, self.is_over) = (offset, false);
        let (_, stream) = session.read(self.at.clone(), offset, wanted).await?;
        self.stream = Some(stream);
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), SessionError> {
        let mut chunk = [0; 64 << 10];
        let read = match &mut self.stream {
            Some(stream) => stream.read(&mut chunk).await,
            None => Ok(0),
        };
        let read = read.map_err(SessionError::of_stream)?;
        if read == 0 {
            self.is_over = true;
            self.stream = None;
        }
        self.buffer.extend(&chunk[..read]);
        Ok(())
    }
}
