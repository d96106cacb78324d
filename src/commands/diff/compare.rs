//! Compares what is mounted in two appliances, path by path, in constant memory: entries come sorted, and
//! what stat(2) does not tell is asked for in batches, while further entries come.

use super::answers::{self, Answer, Question};
use super::change::{Change, FileState, aspects, is_untouched};
use super::content::{self, File};
use super::noise::is_noise;
use super::pairs::{Pair, Pairs};
use super::{DiffOptions, Summary};
use crate::appliance::boot::ROOT;
use crate::launch::{Failure, Progress};
use crate::protocol::{ByteString, DigestKey, DigestKind, Entry, PathAt};
use crate::rpc::changes::{Aspect, ChangeKind};
use crate::session::{Session, SessionError};
use crate::text::escape::Untrusted;

/// How many pairs wait for their details at most, and how many bytes of paths: far below the limit of a
/// request.
const BATCH: usize = 512;
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
    /// The details that are needed.
    wanted: Option<DigestKind>,
}

/// Two trees, mounted at [`ROOT`] in two appliances.
pub(super) struct Comparison<'a, S> {
    pub sessions: [&'a Session; 2],
    pub options: DiffOptions,
    /// Whether files are unchanged is told by what stat(2) says of them.
    pub trusts_times: bool,
    /// Of the digests that tell whether contents are equal.
    pub key: DigestKey,
    /// The name of the filesystem, if the system does not mount it.
    pub filesystem: Option<String>,
    pub progress: &'a dyn Progress,
    pub summary: &'a mut Summary,
    /// Gets the changes in the order of their paths.
    pub sink: &'a mut S,
}

impl<S: AsyncFnMut(Change) -> Result<(), Failure>> Comparison<'_, S> {
    pub async fn run(mut self) -> Result<(), Failure> {
        let walk = |session: &Session| {
            let session = session.clone();
            async move { session.walk_sorted(PathAt::new(ROOT, b"/")).await }
        };
        let [before, after] = self.sessions.map(walk);
        let (before, after) = tokio::try_join!(before, after)?;
        let mut pairs = Pairs::new(before, after).await?;
        let mut batch = self.batch(&mut pairs).await?;
        while !batch.is_empty() {
            let asked = answers::ask(self.sessions, self.key, questions(&batch));
            let (answers, next) = tokio::try_join!(asked, self.batch(&mut pairs))?;
            self.finish(batch, answers).await?;
            batch = next;
        }
        Ok(())
    }

    /// The next candidates; none at the end.
    async fn batch(&mut self, pairs: &mut Pairs) -> Result<Vec<Candidate>, SessionError> {
        let mut batch = Vec::new();
        let (mut waiting, mut bytes) = (0, 0);
        while waiting < BATCH && bytes < BATCH_BYTES && batch.len() < MAX_HELD {
            let pair = pairs.next().await?;
            for unread in pairs.unread() {
                let error = unread.error.as_ref().map(ToString::to_string);
                self.cannot_compare(&absolute(&unread.path), &error.unwrap_or_default());
            }
            let Some(pair) = pair else { break };
            self.summary.compared += 1;
            if self.summary.compared.is_multiple_of(STEP) {
                let count = self.summary.compared;
                self.progress.status(&format!("comparing: {count} paths"));
            }
            let Some(candidate) = self.candidate(pair) else {
                continue;
            };
            if candidate.wanted.is_some() {
                (waiting, bytes) = (waiting + 1, bytes + candidate.path.0.len());
            }
            batch.push(candidate);
        }
        Ok(batch)
    }

    fn cannot_compare(&mut self, path: &ByteString, why: &str) {
        self.summary.unread += 1;
        tracing::warn!("{path} was not compared: {}", Untrusted(why));
    }

    /// What is worth a closer look.
    fn candidate(&mut self, (before, after): Pair) -> Option<Candidate> {
        let stat = |entry: &'_ Option<Entry>| entry.as_ref()?.stat.clone();
        if self.trusts_times
            && let (Some(one), Some(other)) = (stat(&before), stat(&after))
            && is_untouched(&one, &other)
        {
            return None;
        }
        let path = before.as_ref().or(after.as_ref());
        let path = path.map(|entry| absolute(&entry.path)).unwrap_or_default();
        let [before, after] = [before, after].map(|entry| entry.as_ref().map(FileState::of));
        let wanted = self.wanted(before.as_ref(), after.as_ref());
        let is_of_system = self.filesystem.is_none();
        if !self.options.all && is_of_system && is_noise(&path.0) {
            self.summary.left_out += u64::from(wanted.is_none());
            return None;
        }
        Some(Candidate {
            path,
            before,
            after,
            wanted,
        })
    }

    /// What is needed of a path to tell in what it differs.
    fn wanted(&self, before: Option<&FileState>, after: Option<&FileState>) -> Option<DigestKind> {
        let (before, after) = (before?, after?);
        if before.kind? != after.kind? {
            return None;
        }
        Some(match before.is_file() {
            true if before.size == after.size => DigestKind::Keyed,
            true if self.options.sums => DigestKind::Sha256,
            _ => DigestKind::Nothing,
        })
    }

    /// Passes on what differs.
    async fn finish(&mut self, batch: Vec<Candidate>, answers: Vec<Answer>) -> Result<(), Failure> {
        let mut answers = answers.into_iter();
        let mut changes = Vec::new();
        for mut candidate in batch {
            if let Some(kind) = candidate.wanted {
                let states = [&mut candidate.before, &mut candidate.after];
                self.add(&candidate.path, states, kind, answers.next());
            }
            changes.extend(self.change(candidate));
        }
        if self.options.sums {
            self.add_sums(&mut changes).await?;
        }
        for change in changes {
            self.pass_on(change).await?;
        }
        Ok(())
    }

    /// Adds the SHA-256 of the files that were compared by another digest.
    async fn add_sums(&mut self, changes: &mut [Change]) -> Result<(), SessionError> {
        let is_missing = |change: &&mut Change| {
            let states = [&change.before, &change.after];
            states
                .iter()
                .all(|state| state.as_ref().is_some_and(|state| state.keyed.is_some()))
        };
        let missing: Vec<_> = changes.iter_mut().filter(is_missing).collect();
        let kind = DigestKind::Sha256;
        let questions = missing.iter().map(|change| (change.path.clone(), kind));
        let mut answers = answers::ask(self.sessions, self.key, questions.collect())
            .await?
            .into_iter();
        for change in missing {
            let states = [&mut change.before, &mut change.after];
            self.add(&change.path, states, kind, answers.next());
        }
        Ok(())
    }

    /// Adds what both sides said of a file.
    fn add(
        &mut self,
        path: &ByteString,
        states: [&mut Option<FileState>; 2],
        kind: DigestKind,
        answer: Option<Answer>,
    ) {
        let ([Some(before), Some(after)], Some(answer)) = (states, answer) else {
            return;
        };
        if let Err(why) = answers::add([before, after], kind, answer) {
            self.cannot_compare(path, &why);
        }
    }

    fn change(&mut self, candidate: Candidate) -> Option<Change> {
        let Candidate {
            path,
            before,
            after,
            ..
        } = candidate;
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
            path,
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
                file(self.sessions[0], &change.before),
                file(self.sessions[1], &change.after),
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

/// What is asked of candidates.
fn questions(batch: &[Candidate]) -> Vec<Question> {
    let question = |candidate: &Candidate| Some((candidate.path.clone(), candidate.wanted?));
    batch.iter().filter_map(question).collect()
}
