//! Files in the guest. Paths go in as bytes; what comes back is a stranger's claim.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::oneshot;

use super::Session;
use super::error::SessionError;
use super::stream::{StreamReader, StreamWriter};
use crate::guest::wire::{
    ByteString, Entry, FileSystem, MAX_LINE, Operation, PathAt, RemoteError, Response, Stat,
    StreamId, TarOptions, parse,
};

impl Session {
    /// stat(2) within a root; with `follow` false, lstat(2).
    ///
    /// # Errors
    /// What the system says there, or the session ends.
    pub async fn stat(&self, at: PathAt, follow: bool) -> Result<Stat, SessionError> {
        match self.ask(Operation::Stat { at, follow }).await? {
            Response::Stat(stat) => Ok(stat),
            _ => Err(SessionError::Over),
        }
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// As for `stat`; EINVAL where it is none.
    pub async fn read_link(&self, at: PathAt) -> Result<ByteString, SessionError> {
        match self.ask(Operation::ReadLink { at }).await? {
            Response::Link(target) => Ok(target),
            _ => Err(SessionError::Over),
        }
    }

    /// The filesystem that a path is on.
    ///
    /// # Errors
    /// As for `stat`.
    pub async fn statfs(&self, at: PathAt) -> Result<FileSystem, SessionError> {
        match self.ask(Operation::StatFs { at }).await? {
            Response::FileSystem(filesystem) => Ok(filesystem),
            _ => Err(SessionError::Over),
        }
    }

    /// The entries of a directory, unsorted.
    ///
    /// # Errors
    /// It cannot be opened, or the session ends.
    pub async fn list(&self, at: PathAt) -> Result<Entries, SessionError> {
        let (_, reader) = self.open(|out| Operation::List { at, out }).await?;
        Ok(Entries::new(reader))
    }

    /// A place and everything below it; see [`Operation::Walk`].
    ///
    /// # Errors
    /// As for `list`.
    pub async fn walk(&self, at: PathAt, one_file_system: bool) -> Result<Entries, SessionError> {
        let op = |out| Operation::Walk {
            at,
            one_file_system,
            out,
        };
        let (_, reader) = self.open(op).await?;
        Ok(Entries::new(reader))
    }

    /// The bytes of a file or block device from `offset` on, and what stat(2) says of it. They
    /// may be more or fewer than its size.
    ///
    /// # Errors
    /// It cannot be opened, or the session ends. What fails later, the stream says.
    pub async fn read(
        &self,
        at: PathAt,
        offset: u64,
        length: Option<u64>,
    ) -> Result<(Stat, StreamReader), SessionError> {
        let op = |out| Operation::Read {
            at,
            offset,
            length,
            out,
        };
        match self.open(op).await? {
            (Some(stat), reader) => Ok((stat, reader)),
            (None, _) => Err(SessionError::Over),
        }
    }

    /// A file's bytes, no more than `most`: what is behind them is left.
    ///
    /// # Errors
    /// As for `read`, and what fails later.
    pub async fn read_all(&self, at: PathAt, most: u64) -> Result<Vec<u8>, SessionError> {
        self.read_from(at, 0, most).await
    }

    /// The same, from `offset` on.
    ///
    /// # Errors
    /// As for `read_all`.
    pub async fn read_from(
        &self,
        at: PathAt,
        offset: u64,
        most: u64,
    ) -> Result<Vec<u8>, SessionError> {
        let (_, stream) = self.read(at, offset, Some(most)).await?;
        let mut bytes = Vec::new();
        let read = stream.take(most).read_to_end(&mut bytes).await;
        read.map_err(SessionError::of_stream)?;
        Ok(bytes)
    }

    /// A file or tree as a tar stream in pax format.
    ///
    /// # Errors
    /// As for `read`.
    pub async fn tar_out(
        &self,
        at: PathAt,
        options: TarOptions,
    ) -> Result<StreamReader, SessionError> {
        let op = |out| Operation::TarOut { at, options, out };
        Ok(self.open(op).await?.1)
    }

    /// Unpacks a tar stream below a directory: write it to the first, end it, and wait for the
    /// second.
    ///
    /// # Errors
    /// The directory is not there, or the session ends.
    pub async fn tar_in(
        &self,
        at: PathAt,
        options: TarOptions,
    ) -> Result<(StreamWriter, Unpacking), SessionError> {
        let (input, gate, writer) = self.writer()?;
        let op = Operation::TarIn { at, options, input };
        let (done, end) = oneshot::channel();
        let (_, result) = self
            .send(op, |ask| {
                ask.writer = Some((input, gate));
                ask.unpack = Some(done);
            })
            .await;
        result?;
        let session = self.clone();
        Ok((writer, Unpacking { end, session }))
    }

    async fn open(
        &self,
        op: impl FnOnce(StreamId) -> Operation,
    ) -> Result<(Option<Stat>, StreamReader), SessionError> {
        let (id, sender, reader) = self.reader()?;
        let (_, result) = self
            .send(op(id), |ask| ask.readers.push((id, sender)))
            .await;
        match result? {
            Response::Opened { stat } => Ok((stat, reader)),
            _ => Err(SessionError::Over),
        }
    }
}

/// Entries, one after the other, in constant memory.
#[derive(Debug)]
pub struct Entries {
    lines: BufReader<StreamReader>,
    line: Vec<u8>,
}

impl Entries {
    fn new(reader: StreamReader) -> Self {
        Self {
            lines: BufReader::new(reader),
            line: Vec::new(),
        }
    }

    /// The next entry; none at the end.
    ///
    /// # Errors
    /// The walk failed, an entry is malformed or too long, or the session ended.
    pub async fn next(&mut self) -> Result<Option<Entry>, SessionError> {
        self.line.clear();
        let mut limited = (&mut self.lines).take(MAX_LINE as u64);
        let read = limited.read_until(b'\n', &mut self.line).await;
        read.map_err(SessionError::of_stream)?;
        match self.line.strip_suffix(b"\n") {
            Some(line) => Ok(Some(parse("entry", line)?)),
            None if self.line.is_empty() => Ok(None),
            None => {
                let what = format!("an entry of {} bytes or more", self.line.len());
                Err(crate::guest::wire::WireError::OutOfOrder(what).into())
            }
        }
    }
}

/// A tar stream that is being unpacked.
#[derive(Debug)]
pub struct Unpacking {
    end: oneshot::Receiver<Result<u64, RemoteError>>,
    session: Session,
}

impl Unpacking {
    /// Waits for the end, and gives the number of entries.
    ///
    /// # Errors
    /// What could not be unpacked, or the session ended.
    pub async fn wait(self) -> Result<u64, SessionError> {
        match self.end.await {
            Ok(Ok(count)) => Ok(count),
            Ok(Err(error)) => Err(SessionError::Refused(error)),
            Err(_) => Err(self.session.fate.why()),
        }
    }
}
