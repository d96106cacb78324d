//! A large file that a program has open. Whoever reads on where it has read gets the rest as one stream.

use std::collections::VecDeque;

use tokio::io::AsyncReadExt;

use crate::protocol::PathAt;
use crate::session::{Session, SessionError, StreamReader};

/// How much of what was read is kept: the kernel's requests for one file may overtake each other.
const KEPT: usize = 2 << 20;

/// How much is taken from the stream at a time, in bytes.
const CHUNK: usize = 256 << 10;

/// How far ahead of the stream a read may begin that is still served by it.
const AHEAD: u64 = 2 << 20;

#[derive(Debug)]
pub(super) struct Reader {
    at: PathAt,
    size: u64,
    stream: Option<StreamReader>,
    /// What was read last, and where it begins in the file.
    buffer: VecDeque<u8>,
    start: u64,
}

impl Reader {
    pub fn new(at: PathAt, size: u64) -> Self {
        Self {
            at,
            size,
            stream: None,
            buffer: VecDeque::new(),
            start: 0,
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
        let end = offset.saturating_add(length).min(self.size);
        if end <= offset {
            return Ok(Vec::new());
        }
        let is_near = offset >= self.start && offset <= self.end() + AHEAD;
        if is_near {
            self.fill_to(end).await?;
        }
        // The stream may have been for another read only.
        if !is_near || self.end() < end {
            self.restart(session, offset, end - offset).await?;
            self.fill_to(end).await?;
        }
        let place = |at: u64| usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let from = place(offset).min(self.buffer.len());
        let to = place(end).clamp(from, self.buffer.len());
        let read = part(&self.buffer, from, to);
        let excess = to.saturating_sub(KEPT);
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
        let wanted = if goes_on { None } else { Some(length) };
        self.stream = None;
        self.buffer.clear();
        self.start = offset;
        let (_, stream) = session.read(self.at.clone(), offset, wanted).await?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Reads up to `end`, or to the end of the stream.
    async fn fill_to(&mut self, end: u64) -> Result<(), SessionError> {
        if self.end() >= end {
            return Ok(());
        }
        let mut chunk = vec![0; CHUNK];
        while let Some(stream) = &mut self.stream
            && self.start + (self.buffer.len() as u64) < end
        {
            let read = stream.read(&mut chunk).await;
            if !matches!(read, Ok(1..)) {
                self.stream = None;
            }
            let read = read.map_err(SessionError::of_stream)?;
            self.buffer.extend(&chunk[..read]);
        }
        Ok(())
    }
}

/// What is in a buffer from one place up to another, copied as a whole: byte by byte takes longer than all else.
fn part(buffer: &VecDeque<u8>, from: usize, to: usize) -> Vec<u8> {
    let (front, back) = buffer.as_slices();
    let middle = front.len();
    let front = &front[from.min(middle)..to.min(middle)];
    let back = &back[from.max(middle) - middle..to.max(middle) - middle];
    [front, back].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_wherever_the_buffer_begins() {
        let mut buffer = VecDeque::with_capacity(16);
        buffer.extend(0..14_u8);
        buffer.drain(..10);
        buffer.extend(14..20);
        assert!(!buffer.as_slices().1.is_empty());
        for from in 0..=buffer.len() {
            for to in from..=buffer.len() {
                let expected: Vec<_> = buffer.range(from..to).copied().collect();
                assert_eq!(part(&buffer, from, to), expected);
            }
        }
    }
}
