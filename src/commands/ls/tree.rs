//! The entries of many directories by one request: each request costs a round trip to the guest and
//! a process there. One walk lists a tree up to a number of entries; directories that it did not
//! list completely are requested again, one by one.

use std::collections::{HashMap, HashSet};

use crate::protocol::{ByteString, Entry, FileKind, PathAt};
use crate::session::{Session, SessionError};

/// The most bytes of names in one walk.
const MAX_TEXT: usize = 32 << 20;

/// Directories by their paths, each with all of its entries.
#[derive(Debug, Default)]
pub struct Tree {
    complete: HashMap<Vec<u8>, Vec<Entry>>,
}

impl Tree {
    /// Walks the directory `at` and all below it, up to `at_most` entries. Directories that were not
    /// listed completely are not added; neither is one that cannot be read, which the request for
    /// it alone will report.
    pub async fn grow(
        &mut self,
        session: &Session,
        at: PathAt,
        at_most: usize,
    ) -> Result<(), SessionError> {
        let mut growing = Growing::new(at.path.0.clone());
        match growing.fill(session, at, at_most).await {
            Ok(()) => self.complete.extend(growing.complete),
            Err(SessionError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub fn has(&self, path: &[u8]) -> bool {
        self.complete.contains_key(path)
    }

    /// Removes a directory and returns its entries.
    pub fn take(&mut self, path: &[u8]) -> Option<Vec<Entry>> {
        self.complete.remove(path)
    }
}

struct Growing {
    top: Vec<u8>,
    complete: HashMap<Vec<u8>, Vec<Entry>>,
    incomplete: HashSet<Vec<u8>>,
}

impl Growing {
    fn new(top: Vec<u8>) -> Self {
        Self {
            complete: HashMap::from([(top.clone(), Vec::new())]),
            incomplete: HashSet::new(),
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
            if count > at_most || text > MAX_TEXT {
                self.stop_at(&entry.path.0);
                break;
            }
            self.put(entry);
        }
        self.complete
            .retain(|path, _| !self.incomplete.contains(path));
        Ok(())
    }

    fn put(&mut self, entry: Entry) {
        let path = match &entry.path.0[..] {
            b"" => self.top.clone(),
            below => join(&self.top, below),
        };
        if self.complete.contains_key(&path) {
            // A directory that came before: it could not be read, or it is the top itself, which
            // may be a link to a directory.
            let kind = entry.stat.as_ref().map(|stat| stat.kind);
            if entry.error.is_some() || kind != Some(FileKind::Directory) {
                self.incomplete.insert(path);
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
            self.complete.insert(path, Vec::new());
        }
        let path = ByteString(name.to_vec());
        match self.complete.get_mut(&parent) {
            Some(entries) => entries.push(Entry { path, ..entry }),
            // Parents come first.
            None => self.incomplete.extend([parent]),
        }
    }

    /// The walk stops at `path`: the directories above it are incomplete.
    fn stop_at(&mut self, path: &[u8]) {
        let mut path = path;
        while !path.is_empty() {
            self.incomplete.insert(join(&self.top, path));
            path = split(path).0;
        }
        self.incomplete.insert(self.top.clone());
    }
}

/// A path's directory, empty for the top, and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The path of a name in a directory; the name alone if the directory is empty.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        directory if directory.ends_with(b"/") => [directory, name].concat(),
        directory => [directory, b"/", name].concat(),
    }
}
