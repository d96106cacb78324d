//! The entries of many directories at once: each request costs the way to the guest and back, and
//! a process there. One walk brings a whole tree, up to so many entries; what it did not bring
//! whole is asked for again.

use std::collections::{HashMap, HashSet};

use super::list::join;
use crate::guest::session::{Session, SessionError};
use crate::guest::wire::{ByteString, Entry, FileKind, PathAt};

/// How many bytes of names come at once.
const MOST_TEXT: usize = 32 << 20;

/// Directories by their paths, each with all of its entries.
#[derive(Debug, Default)]
pub struct Tree {
    whole: HashMap<Vec<u8>, Vec<Entry>>,
}

impl Tree {
    /// Walks through the directory `at` and all below it, until `at_most` entries have come.
    /// Directories that cannot be read, or not to their ends, are not there afterwards.
    ///
    /// # Errors
    /// The session's. That `at` cannot be read is left to be found out again.
    pub async fn grow(
        &mut self,
        session: &Session,
        at: PathAt,
        at_most: usize,
    ) -> Result<(), SessionError> {
        let mut growing = Growing::new(at.path.0.clone());
        match growing.fill(session, at, at_most).await {
            Ok(()) => self.whole.extend(growing.whole),
            Err(SessionError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether a directory is there.
    pub fn has(&self, path: &[u8]) -> bool {
        self.whole.contains_key(path)
    }

    /// The entries of a directory, once.
    pub fn take(&mut self, path: &[u8]) -> Option<Vec<Entry>> {
        self.whole.remove(path)
    }
}

struct Growing {
    top: Vec<u8>,
    whole: HashMap<Vec<u8>, Vec<Entry>>,
    /// Directories of which something is missing.
    torn: HashSet<Vec<u8>>,
}

impl Growing {
    fn new(top: Vec<u8>) -> Self {
        Self {
            whole: HashMap::from([(top.clone(), Vec::new())]),
            torn: HashSet::new(),
            top,
        }
    }

    async fn fill(
        &mut self,
        session: &Session,
        at: PathAt,
        at_most: usize,
    ) -> Result<(), SessionError> {
        let mut entries = session.walk(at, false).await?;
        let (mut count, mut text) = (0, 0);
        while let Some(entry) = entries.next().await? {
            count += 1;
            text += entry.weight();
            if count > at_most || text > MOST_TEXT {
                self.tear_above(&entry.path.0);
                break;
            }
            self.put(entry);
        }
        self.whole.retain(|path, _| !self.torn.contains(path));
        Ok(())
    }

    fn put(&mut self, entry: Entry) {
        let path = match &entry.path.0[..] {
            b"" => self.top.clone(),
            below => join(&self.top, below),
        };
        if self.whole.contains_key(&path) {
            // A directory that came before: one that failed, or the top itself, which may
            // be a link to a directory.
            let kind = entry.stat.as_ref().map(|stat| stat.kind);
            if entry.error.is_some() || kind != Some(FileKind::Directory) {
                self.torn.insert(path);
            }
            return;
        }
        let (parent, name) = split(&entry.path.0);
        let parent = match parent {
            b"" => self.top.clone(),
            parent => join(&self.top, parent),
        };
        let stat = entry.stat.as_ref();
        if stat.is_some_and(|stat| stat.kind == FileKind::Directory) {
            self.whole.insert(path, Vec::new());
        }
        let path = ByteString(name.to_vec());
        match self.whole.get_mut(&parent) {
            Some(entries) => entries.push(Entry { path, ..entry }),
            // Parents come first.
            None => self.torn.extend([parent]),
        }
    }

    /// No more comes: what is above `path` was not yet left.
    fn tear_above(&mut self, path: &[u8]) {
        let mut path = path;
        while !path.is_empty() {
            self.torn.insert(join(&self.top, path));
            path = split(path).0;
        }
        self.torn.insert(self.top.clone());
    }
}

/// A path's directory, empty at the top, and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
