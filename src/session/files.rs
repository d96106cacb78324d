//! Files in the guest. Everything that the guest returns is untrusted.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::sync::oneshot;

use super::Session;
use super::error::SessionError;
use super::messages::{Answer, Attached, Opened, OpenedFile};
use super::stream::{StreamReader, StreamWriter};
use crate::protocol::{
    Attributes, ByteString, Details, DigestKey, DigestKind, Entry, FileSystem, MAX_DATA, Operation,
    PathAt, RECORD_HEADER, RemoteError, Stat, StreamId, TarOptions, TreeDetail, TreeRecord,
    WireError, parse_record, record_length, weight_of,
};

/// The most memory that the attributes of one file may take, in bytes: the agent shortens them to a part of it.
const MAX_ATTRIBUTES: usize = 256 << 10;

impl Session {
    /// stat(2), or lstat(2) without `follow`.
    pub async fn stat(&self, at: PathAt, follow: bool) -> Result<Stat, SessionError> {
        self.request(Operation::Stat { at, follow }).await
    }

    /// The target of a symbolic link. Fails with EINVAL if it is none.
    pub async fn read_link(&self, at: PathAt) -> Result<ByteString, SessionError> {
        self.request(Operation::ReadLink { at }).await
    }

    /// The extended attributes of a file, by name; links are not followed.
    pub async fn attributes(&self, at: PathAt) -> Result<Attributes, SessionError> {
        self.request(Operation::Attributes { at }).await
    }

    /// The filesystem that a path is on.
    pub async fn statfs(&self, at: PathAt) -> Result<FileSystem, SessionError> {
        self.request(Operation::StatFs { at }).await
    }

    /// The entries of a directory, unsorted.
    pub async fn list(&self, at: PathAt) -> Result<Entries, SessionError> {
        let (Opened, reader) = self.open(|out| Operation::List { at, out }).await?;
        Ok(Entries::new(reader))
    }

    /// A file and everything below it; see [`Operation::Walk`].
    pub async fn walk(&self, at: PathAt, one_file_system: bool) -> Result<Entries, SessionError> {
        let walk = |out| Operation::Walk {
            at,
            one_file_system,
            out,
        };
        let (Opened, reader) = self.open(walk).await?;
        Ok(Entries::new(reader))
    }

    /// A directory and everything below it, sorted; see [`Operation::WalkSorted`].
    pub(crate) async fn walk_sorted(&self, at: PathAt) -> Result<Entries, SessionError> {
        let (Opened, reader) = self.open(|out| Operation::WalkSorted { at, out }).await?;
        Ok(Entries::new(reader))
    }

    /// The entries of `directories` below `root`, and of those below them; see [`Operation::ListTree`].
    pub async fn list_tree(
        &self,
        root: &str,
        directories: Vec<ByteString>,
        limit: usize,
        detail: TreeDetail,
    ) -> Result<Records<TreeRecord>, SessionError> {
        let root = root.into();
        let list = |out| Operation::ListTree {
            root,
            directories,
            limit,
            detail,
            out,
        };
        let (Opened, reader) = self.open(list).await?;
        Ok(Records::new(reader))
    }

    /// The contents of files below `root`; see [`Operation::Contents`].
    pub async fn contents(
        &self,
        root: &str,
        paths: Vec<ByteString>,
    ) -> Result<StreamReader, SessionError> {
        let root = root.into();
        let contents = |out| Operation::Contents { root, paths, out };
        let (Opened, reader) = self.open(contents).await?;
        Ok(reader)
    }

    /// What stat(2) does not tell of files below `root`, in the order of `files`, which take no more than
    /// half of [`crate::protocol::MAX_CONTROL`] bytes. `key` is for keyed digests.
    pub(crate) async fn details(
        &self,
        root: &str,
        files: Vec<(ByteString, DigestKind)>,
        key: DigestKey,
    ) -> Result<Vec<Details>, SessionError> {
        let count = files.len();
        let root = root.into();
        let details = |out| Operation::Details {
            root,
            files,
            key,
            out,
        };
        let (Opened, reader) = self.open(details).await?;
        let mut records = Records::<Details>::new(reader);
        let mut all = Vec::with_capacity(count);
        while all.len() <= count
            && let Some(details) = records.next().await?
        {
            if weight_of(&details.attributes) > MAX_ATTRIBUTES {
                let what = format!("attributes of more than {MAX_ATTRIBUTES} bytes");
                return Err(WireError::OutOfOrder(what).into());
            }
            all.push(details);
        }
        match all.len() == count {
            true => Ok(all),
            false => Err(WireError::OutOfOrder("details of other files".to_owned()).into()),
        }
    }

    /// The bytes of a file or block device from `offset` on, and its stat(2). There may be more
    /// or fewer bytes than its size. The stream reports errors that occur later.
    pub async fn read(
        &self,
        at: PathAt,
        offset: u64,
        length: Option<u64>,
    ) -> Result<(Stat, StreamReader), SessionError> {
        let read = |out| Operation::Read {
            at,
            offset,
            length,
            out,
        };
        let (OpenedFile(stat), reader) = self.open(read).await?;
        Ok((stat, reader))
    }

    /// At most `limit` bytes of a file, from `offset` on.
    pub(crate) async fn read_from(
        &self,
        at: PathAt,
        offset: u64,
        limit: u64,
    ) -> Result<Vec<u8>, SessionError> {
        let (_, stream) = self.read(at, offset, Some(limit)).await?;
        let mut bytes = Vec::new();
        let read = stream.take(limit).read_to_end(&mut bytes).await;
        read.map_err(SessionError::of_stream)?;
        Ok(bytes)
    }

    /// A file or tree as a tar stream in pax format.
    pub async fn tar_out(
        &self,
        at: PathAt,
        options: TarOptions,
    ) -> Result<StreamReader, SessionError> {
        let tar = |out| Operation::TarOut { at, options, out };
        let (Opened, reader) = self.open(tar).await?;
        Ok(reader)
    }

    /// Unpacks a tar stream below a directory: write it to the first, end it, and wait for the
    /// second.
    pub async fn tar_in(
        &self,
        at: PathAt,
        options: TarOptions,
    ) -> Result<(StreamWriter, Unpacking), SessionError> {
        let mut attached = Attached::default();
        let writer = self.writer(&mut attached)?;
        let (sender, end) = oneshot::channel();
        attached.unpack = Some(sender);
        let input = writer.id;
        let tar = Operation::TarIn { at, options, input };
        let Opened = self.send(self.next_id(), tar, attached).await?;
        let session = self.clone();
        Ok((writer, Unpacking { end, session }))
    }

    /// Sends a request for a stream from the guest.
    async fn open<A: Answer>(
        &self,
        operation: impl FnOnce(StreamId) -> Operation,
    ) -> Result<(A, StreamReader), SessionError> {
        let mut attached = Attached::default();
        let reader = self.reader(&mut attached)?;
        let operation = operation(reader.id);
        let answer = self.send(self.next_id(), operation, attached).await?;
        Ok((answer, reader))
    }
}

/// A stream of entries, read in constant memory.
pub type Entries = Records<Entry>;

/// A stream of records, read in constant memory.
#[derive(Debug)]
pub struct Records<T> {
    records: BufReader<StreamReader>,
    record: Vec<u8>,
    value: PhantomData<T>,
}

impl<T: DeserializeOwned> Records<T> {
    fn new(reader: StreamReader) -> Self {
        Self {
            records: BufReader::with_capacity(MAX_DATA, reader),
            record: Vec::new(),
            value: PhantomData,
        }
    }

    /// The next record, or `None` at the end. A malformed or overlong one is an error.
    pub async fn next(&mut self) -> Result<Option<T>, SessionError> {
        if self.fill(RECORD_HEADER).await? == 0 {
            return Ok(None);
        }
        let header = self.record.first_chunk().copied();
        let length = record_length(header.ok_or_else(|| cut(&self.record))?)?;
        match self.fill(length).await? == length {
            true => Ok(Some(parse_record(&self.record)?)),
            false => Err(cut(&self.record).into()),
        }
    }

    /// Reads so many bytes, or to the end.
    async fn fill(&mut self, length: usize) -> Result<usize, SessionError> {
        self.record.clear();
        let mut limited = (&mut self.records).take(length as u64);
        let read = limited.read_to_end(&mut self.record).await;
        read.map_err(SessionError::of_stream)
    }
}

fn cut(record: &[u8]) -> WireError {
    WireError::OutOfOrder(format!("the end after {} bytes of a record", record.len()))
}

/// A tar stream that is being unpacked in the guest.
#[derive(Debug)]
pub struct Unpacking {
    end: oneshot::Receiver<Result<u64, RemoteError>>,
    session: Session,
}

impl Unpacking {
    /// Waits for the end. Returns the number of entries.
    pub async fn wait(self) -> Result<u64, SessionError> {
        match self.end.await {
            Ok(result) => result.map_err(SessionError::Refused),
            Err(_) => Err(self.session.reason.get()),
        }
    }
}

#[cfg(test)]
#[path = "details_tests.rs"]
mod tests;
