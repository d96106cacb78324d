//! Two sorted streams of entries, merged: for each path what both have of it. Constant memory.

use std::cmp::Ordering;

use crate::protocol::{Entry, WireError};
use crate::session::{Entries, SessionError};

/// The entries of one path, before and after.
pub(super) type Pair = (Option<Entry>, Option<Entry>);

/// One stream, and its next entry.
struct Ahead {
    entries: Entries,
    next: Option<Entry>,
    /// The path of the last entry, which the next has to follow.
    last: Option<Vec<u8>>,
    unread: Vec<Entry>,
}

pub(super) struct Pairs {
    before: Ahead,
    after: Ahead,
}

impl Pairs {
    pub async fn new(before: Entries, after: Entries) -> Result<Self, SessionError> {
        let (before, after) = tokio::try_join!(Ahead::new(before), Ahead::new(after))?;
        Ok(Self { before, after })
    }

    /// The next path's; `None` at the end of both.
    pub async fn next(&mut self) -> Result<Option<Pair>, SessionError> {
        let order = match (&self.before.next, &self.after.next) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => compare(&before.path.0, &after.path.0),
        };
        Ok(Some(match order {
            Ordering::Less => (self.before.take().await?, None),
            Ordering::Greater => (None, self.after.take().await?),
            Ordering::Equal => tokio::try_join!(self.before.take(), self.after.take())?,
        }))
    }

    /// What could not be read since the last call, on either side.
    pub fn unread(&mut self) -> impl Iterator<Item = Entry> {
        let before = std::mem::take(&mut self.before.unread);
        before
            .into_iter()
            .chain(std::mem::take(&mut self.after.unread))
    }
}

impl Ahead {
    async fn new(entries: Entries) -> Result<Self, SessionError> {
        let mut ahead = Self {
            entries,
            next: None,
            last: None,
            unread: Vec::new(),
        };
        ahead.take().await?;
        Ok(ahead)
    }

    /// The next entry, and reads the one that follows it.
    async fn take(&mut self) -> Result<Option<Entry>, SessionError> {
        let taken = self.next.take();
        while let Some(entry) = self.entries.next().await? {
            // A directory that could not be read comes a second time, behind what is below it.
            if entry.error.is_some() {
                self.unread.push(entry);
                continue;
            }
            let last = self.last.replace(entry.path.0.clone());
            if last.is_some_and(|last| compare(&last, &entry.path.0) != Ordering::Less) {
                return Err(WireError::OutOfOrder("entries that are not sorted".to_owned()).into());
            }
            self.next = Some(entry);
            break;
        }
        Ok(taken)
    }
}

/// The order in which a sorted walk visits paths: each directory before what is below it, and that before
/// the next name of the directory.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let parts = |path| <[u8]>::split(path, |byte| *byte == b'/');
    parts(one).cmp(parts(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_followed_by_what_is_below_it() {
        let mut paths = ["a.b", "a/b", "a", "", "a/b.c", "a/b/c", "B"];
        paths.sort_by(|one, other| compare(one.as_bytes(), other.as_bytes()));
        assert_eq!(paths, ["", "B", "a", "a/b", "a/b/c", "a/b.c", "a.b"]);
    }
}
