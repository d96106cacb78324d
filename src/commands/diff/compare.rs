//! Compares what is mounted in two appliances, path by path, in constant memory: entries come sorted, and
//! what stat(2) does not tell is asked for in batches.

use super::change::{Change, FileState, aspects, is_untouched};
use super::content::{self, File};
use super::noise::is_noise;
use super::pairs::{Pair, Pairs};
use super::{DiffOptions, Summary};
use crate::appliance::boot::ROOT;
use crate::launch::{Failure, Progress};
use crate::protocol::{ByteString, Details, Entry, PathAt};
use crate::rpc::changes::{Aspect, ChangeKind};
use crate::session::Session;
use crate::text::escape::Untrusted;

/// How many pairs wait for their details at most, and how many bytes of paths: far below the limit of a
/// request.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 128 << 10;

/// How many pairs are held back until those before them are known.
const MAX_HELD: usize = 2048;

/// How many paths are compared between two words of progress.
const STEP: u64 = 5000;

/// A pair that seems to differ, or whose details are needed to tell.
struct Candidate {
    path: ByteString,
    before: Option<FileState>,
    after: Option<FileState>,
    needs_details: bool,
}

/// Two trees, mounted at [`ROOT`] in two appliances.
pub(super) struct Comparison<'a, S> {
    pub before: &'a Session,
    pub after: &'a Session,
    pub options: DiffOptions,
    /// Files that were once the same are told by what stat(2) says of them.
    pub is_related: bool,
    /// The name of the filesystem, if the system does not mount it.
    pub filesystem: Option<String>,
    pub progress: &'a dyn Progress,
    pub summary: &'a mut Summary,
    /// Gets the changes in the order of their paths.
    pub sink: &'a mut S,
}

impl<S: AsyncFnMut(Change) -> Result<(), Failure>> Comparison<'_, S> {
    pub async fn run(mut self) -> Result<(), Failure> {
        let at = || PathAt::new(ROOT, b"/");
        let (before, after) =
            tokio::try_join!(self.before.walk_sorted(at()), self.after.walk_sorted(at()))?;
        let mut pairs = Pairs::new(before, after).await?;
        let mut held = Vec::new();
        let (mut waiting, mut bytes) = (0, 0);
        while let Some(pair) = pairs.next().await? {
            self.summary.compared += 1;
            if self.summary.compared.is_multiple_of(STEP) {
                let count = self.summary.compared;
                self.progress.status(&format!("comparing: {count} paths"));
            }
            for unread in pairs.unread() {
                self.unread(&unread);
            }
            let Some(candidate) = self.candidate(pair) else {
                continue;
            };
            if candidate.needs_details {
                (waiting, bytes) = (waiting + 1, bytes + candidate.path.0.len());
            }
            held.push(candidate);
            if waiting >= BATCH || bytes >= BATCH_BYTES || held.len() >= MAX_HELD {
                self.flush(std::mem::take(&mut held)).await?;
                (waiting, bytes) = (0, 0);
            }
        }
        for unread in pairs.unread() {
            self.unread(&unread);
        }
        self.flush(held).await
    }

    fn unread(&mut self, entry: &Entry) {
        let error = entry.error.as_ref().map(ToString::to_string);
        self.cannot_compare(&absolute(&entry.path), &error.unwrap_or_default());
    }

    fn cannot_compare(&mut self, path: &ByteString, why: &str) {
        self.summary.unread += 1;
        tracing::warn!("{path} was not compared: {}", Untrusted(why));
    }

    /// What is worth a closer look.
    fn candidate(&mut self, (before, after): Pair) -> Option<Candidate> {
        let needs_details = match (&before, &after) {
            (
                Some(Entry {
                    stat: Some(one), ..
                }),
                Some(Entry {
                    stat: Some(other), ..
                }),
            ) => {
                if self.is_related && !self.options.checksum && is_untouched(one, other) {
                    return None;
                }
                one.kind == other.kind
            }
            _ => false,
        };
        let path = before
            .as_ref()
            .or(after.as_ref())
            .map(|entry| absolute(&entry.path));
        let candidate = Candidate {
            path: path.unwrap_or_default(),
            before: before.as_ref().map(FileState::of),
            after: after.as_ref().map(FileState::of),
            needs_details,
        };
        let is_of_system = self.filesystem.is_none();
        if !self.options.all && is_of_system && is_noise(&candidate.path.0) {
            self.summary.left_out += u64::from(!needs_details);
            return None;
        }
        Some(candidate)
    }

    /// Asks for the details that are needed, and passes on what differs.
    async fn flush(&mut self, held: Vec<Candidate>) -> Result<(), Failure> {
        let wanted = held.iter().filter(|candidate| candidate.needs_details);
        let paths: Vec<_> = wanted.map(|candidate| candidate.path.clone()).collect();
        let mut details = match paths.is_empty() {
            true => Vec::new().into_iter().zip(Vec::new()),
            false => {
                let before = self.before.details(ROOT, paths.clone());
                let after = self.after.details(ROOT, paths);
                let (before, after) = tokio::try_join!(before, after)?;
                before.into_iter().zip(after)
            }
        };
        for mut candidate in held {
            let details = candidate.needs_details.then(|| details.next()).flatten();
            if let Some(change) = self.change(&mut candidate, details) {
                self.pass_on(change).await?;
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        candidate: &mut Candidate,
        details: Option<(Details, Details)>,
    ) -> Option<Change> {
        if let Some((one, other)) = details {
            if let Some(error) = one.error.as_ref().or(other.error.as_ref()) {
                self.cannot_compare(&candidate.path, &error.to_string());
            } else if let (Some(before), Some(after)) =
                (&mut candidate.before, &mut candidate.after)
            {
                before.add(&one);
                after.add(&other);
            }
        }
        let (before, after) = (candidate.before.take(), candidate.after.take());
        let (kind, mut what) = match (&before, &after) {
            (None, _) => (ChangeKind::Added, Vec::new()),
            (_, None) => (ChangeKind::Removed, Vec::new()),
            (Some(before), Some(after)) => match aspects(before, after) {
                what if what.is_empty() => return None,
                what => (ChangeKind::Modified, what),
            },
        };
        if !self.options.all && kind == ChangeKind::Modified {
            what.retain(|aspect| *aspect != Aspect::Times);
            if what.is_empty() {
                self.summary.left_out += 1;
                return None;
            }
        }
        Some(Change {
            filesystem: self.filesystem.clone(),
            path: std::mem::take(&mut candidate.path),
            change: kind,
            what,
            before,
            after,
            diff: None,
        })
    }

    async fn pass_on(&mut self, mut change: Change) -> Result<(), Failure> {
        let is_text = |state: &Option<FileState>| state.as_ref().is_none_or(FileState::is_file);
        let is_changed =
            change.change != ChangeKind::Modified || change.what.contains(&Aspect::Content);
        if self.options.content && is_changed && is_text(&change.before) && is_text(&change.after) {
            let path = change.path.clone();
            let file = |session, state: &Option<FileState>| {
                let size = state.as_ref()?.size;
                let at = PathAt::new(ROOT, &path.0);
                Some(File { session, at, size })
            };
            let (before, after) = (
                file(self.before, &change.before),
                file(self.after, &change.after),
            );
            let name = path.as_path().display().to_string();
            change.diff = content::unified(&name, before, after).await?;
        }
        self.summary.changes += 1;
        (self.sink)(change).await
    }
}

/// The path of an entry from the root.
fn absolute(path: &ByteString) -> ByteString {
    ByteString([b"/", &path.0[..]].concat())
}
