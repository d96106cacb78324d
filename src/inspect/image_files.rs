//! Reads files of a mounted root. A missing file is `None`, not an error.

use nix::errno::Errno;

use crate::protocol::{ByteString, Entry, PathAt, RemoteError, Stat};
use crate::session::{Session, SessionError};

/// The most entries of one directory that are read, and the most bytes of their names.
const MOST: usize = 100_000;
const MOST_TEXT: usize = 32 << 20;

#[derive(Clone, Copy, Debug)]
pub struct ImageFiles<'a> {
    session: &'a Session,
    root: &'a str,
    /// Read errors are errors, not `None`: another process writes to the image, and a file that is
    /// being changed must not look like a missing one.
    strict: bool,
}

impl<'a> ImageFiles<'a> {
    pub fn new(session: &'a Session, root: &'a str, strict: bool) -> Self {
        Self {
            session,
            root,
            strict,
        }
    }

    pub fn session(&self) -> &'a Session {
        self.session
    }

    pub fn root(&self) -> &'a str {
        self.root
    }

    fn at(&self, path: impl AsRef<[u8]>) -> PathAt {
        PathAt::new(self.root, path.as_ref())
    }

    /// `None` for a missing file, and unless `strict` for an unreadable one.
    fn there<T>(&self, result: Result<T, SessionError>) -> Result<Option<T>, SessionError> {
        let missing = [
            Errno::ENOENT,
            Errno::ENOTDIR,
            Errno::ELOOP,
            Errno::EISDIR,
            Errno::EINVAL,
            Errno::ENXIO,
        ];
        match result {
            Ok(found) => Ok(Some(found)),
            Err(SessionError::Refused(error)) => {
                let is_missing = missing.iter().any(|e| error.errno == Some(*e as i32));
                match is_missing || !self.strict {
                    true => Ok(None),
                    false => Err(SessionError::Refused(error)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The first bytes of a file, links followed.
    pub async fn bytes(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, SessionError> {
        self.there(self.session.read_from(self.at(path), 0, most).await)
    }

    /// Bytes from an offset on, links followed.
    pub async fn bytes_at(
        &self,
        path: &str,
        offset: u64,
        most: u64,
    ) -> Result<Option<Vec<u8>>, SessionError> {
        self.there(self.session.read_from(self.at(path), offset, most).await)
    }

    /// The last bytes of a file of records, from the start of a record on.
    pub async fn bytes_at_end(
        &self,
        path: &str,
        most: u64,
        record: u64,
    ) -> Result<Option<Vec<u8>>, SessionError> {
        let Some(stat) = self.stat(path).await? else {
            return Ok(None);
        };
        let skipped = stat.size.saturating_sub(most);
        let offset = skipped.next_multiple_of(record.max(1));
        let read = self.session.read_from(self.at(path), offset, most).await;
        self.there(read)
    }

    /// A file as text; bytes that are not UTF-8 are replaced.
    pub async fn text(&self, path: &str, most: u64) -> Result<Option<String>, SessionError> {
        let bytes = self.bytes(path, most).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// stat(2), links followed.
    pub async fn stat(&self, path: &str) -> Result<Option<Stat>, SessionError> {
        self.there(self.session.stat(self.at(path), true).await)
    }

    pub async fn link(&self, path: &str) -> Result<Option<String>, SessionError> {
        let target = self.there(self.session.read_link(self.at(path)).await)?;
        Ok(target.map(|ByteString(bytes)| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The entries of a directory, sorted; empty if there is no such directory.
    pub async fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<Entry>, SessionError> {
        let Some(mut listed) = self.there(self.session.list(self.at(path)).await)? else {
            return Ok(Vec::new());
        };
        let (mut entries, mut text) = (Vec::new(), 0);
        while let Some(Some(entry)) = self.there(listed.next().await)? {
            text += entry.weight();
            if entries.len() == MOST || text > MOST_TEXT {
                break;
            }
            entries.push(entry);
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    /// As [`Self::list`], but with the error of a directory that is there and cannot be read.
    pub async fn try_list(
        &self,
        path: &str,
    ) -> Result<Result<Vec<Entry>, RemoteError>, SessionError> {
        let strictly = Self {
            strict: true,
            ..*self
        };
        match strictly.list(path).await {
            Err(SessionError::Refused(error)) if !self.strict => Ok(Err(error)),
            listed => listed.map(Ok),
        }
    }
}

/// The name of an entry, if it is UTF-8.
pub fn name(entry: &Entry) -> Option<&str> {
    std::str::from_utf8(&entry.path.0).ok()
}
