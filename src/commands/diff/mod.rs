//! `bivouac diff A B`: what differs between two images, read by two appliances at a time. The same
//! comparison shows what a run has changed ([`overlays`]).
//!
//! [`places`] says which filesystems are compared, [`pairs`] merges the entries of both sides, [`compare`]
//! finds what differs, [`answers`] asks for what stat(2) does not tell, [`content`] shows how. [`change`] is a
//! difference as data, [`noise`] what is left out, [`format`] what is printed.

mod answers;
mod change;
mod compare;
mod content;
pub(crate) mod format;
mod noise;
pub(crate) mod overlays;
mod pairs;
mod places;

use std::path::PathBuf;

use clap::ValueHint;

use super::args::image::InspectionArgs;
use super::inspection::Inspector;
use super::stdout_sink;
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::launch::appliance_session::{ApplianceSession, InspectionSpec};
use crate::launch::facts::{AcceleratorFacts, ImageFacts};
use crate::launch::{Failure, Progress};
use crate::machine::plan::Accelerator;
use crate::protocol::DigestKey;
use crate::protocol::disks::{Mount, Survey};
use crate::rpc::changes::{Aspect, ChangeKind};
use crate::session::{Session, SessionError, random};
pub(crate) use change::{Change, FileState};
use compare::Comparison;
use places::{Places, places, without_needless_names};

/// Show what differs between the files of two images, without booting them
///
/// A line for each path that was added (A), removed (D) or modified (M), of every filesystem: in type,
/// mode, owner, size, content, link, device numbers or extended attributes. Exits with 1 if there are
/// differences.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The image before
    #[arg(value_name = "A", value_hint = ValueHint::FilePath)]
    before: PathBuf,
    /// The image after
    #[arg(value_name = "B", value_hint = ValueHint::FilePath)]
    after: PathBuf,
    /// Show the content of text files as a unified diff
    #[arg(long)]
    content: bool,
    /// Show noise too: times alone, logs, caches, ids
    #[arg(long, short)]
    all: bool,
    /// Compare the content of all files, even of those that seem to be untouched since both images
    /// were one
    #[arg(long)]
    checksum: bool,
    /// Take files for unchanged that have the same inode, owner, mode, size and times in both images, and
    /// do not read them, also if these are copies of one image
    #[arg(long, conflicts_with = "checksum")]
    quick: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// What is compared and shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiffOptions {
    /// Noise too.
    pub all: bool,
    /// Text files as unified diffs.
    pub content: bool,
    /// The content of all files.
    pub checksum: bool,
    /// Not the content of files that seem to be untouched.
    pub quick: bool,
    /// The SHA-256 of modified files.
    pub sums: bool,
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Paths.
    pub compared: u64,
    /// Changes that were passed on.
    pub changes: u64,
    /// Changes that were left out as noise, as far as they were looked at.
    pub left_out: u64,
    /// What could not be compared; a warning was printed for each.
    pub unread: u64,
}

/// The two sides of a comparison.
pub(crate) struct Sides<'a> {
    pub before: InspectionSpec,
    pub after: InspectionSpec,
    /// The only root filesystem to compare.
    pub root: Option<&'a str>,
    pub accelerator: (Accelerator, AcceleratorFacts),
}

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    let options = DiffOptions {
        all: args.all,
        content: args.content,
        checksum: args.checksum,
        quick: args.quick,
        sums: args.json,
    };
    args.options.check_images([&args.before, &args.after])?;
    stdout_sink::run(async |output| {
        let sides = Sides {
            before: inspector.spec(&args.before),
            after: inspector.spec(&args.after),
            root: inspector.root(),
            accelerator: inspector.accelerator()?,
        };
        let mut output = output.lock().await;
        let mut sink = async |change: Change| {
            let lines = format::lines(&change, args.json).map_err(anyhow::Error::from)?;
            Ok(output.write(lines.as_bytes()).await?)
        };
        let compared = diff(sides, options, inspector.progress, &mut sink).await;
        output.commit().await?;
        let (summary, facts) = compared?;
        facts.into_iter().for_each(|facts| inspector.add(facts));
        summary.finish(inspector.progress)
    })
}

impl Summary {
    /// Says what was left out. The status: as of diff(1), but for what could not be compared.
    pub fn finish(self, progress: &dyn Progress) -> Result<Status, Failure> {
        if self.left_out > 0 {
            let count = self.left_out;
            progress.message(&format!(
                "bivouac: {count} changes are noise; --all shows them"
            ));
        }
        match self {
            Self {
                unread: 0,
                changes: 0,
                ..
            } => Ok(Status::Success),
            Self { unread: 0, .. } => Ok(Status::Negative),
            _ => Err(anyhow::anyhow!("not everything could be compared").into()),
        }
    }
}

/// Compares two sides. `sink` gets the changes, by filesystems and in the order of their paths.
pub(crate) async fn diff(
    sides: Sides<'_>,
    options: DiffOptions,
    progress: &dyn Progress,
    sink: &mut impl AsyncFnMut(Change) -> Result<(), Failure>,
) -> Result<(Summary, [ImageFacts; 2]), Failure> {
    let (chosen, root) = (sides.accelerator, sides.root);
    let open = |spec| ApplianceSession::open(spec, || Ok(chosen.clone()), progress);
    let (mut before, mut after) = tokio::try_join!(open(sides.before), open(sides.after))?;
    // What stops or ends one of them stops or ends both.
    after.supervisor.leave_signals();
    let (one, other) = tokio::try_join!(before.survey(), after.survey())?;
    let mut summary = Summary::default();
    let mut work = Work {
        sessions: [before.session.clone(), after.session.clone()],
        trusts_times: !options.checksum && (options.quick || before.is_related(&after)),
        key: random()?,
        options,
        progress,
        summary: &mut summary,
        sink,
    };
    let done = before
        .work(after.work(work.run([&one, &other], root)))
        .await;
    progress.clear_status();
    let (before, after) = tokio::join!(before.close(), after.close());
    done?;
    before.1.and(after.1)?;
    Ok((summary, [before.0, after.0]))
}

struct Work<'a, S> {
    sessions: [Session; 2],
    trusts_times: bool,
    key: DigestKey,
    options: DiffOptions,
    progress: &'a dyn Progress,
    summary: &'a mut Summary,
    sink: &'a mut S,
}

impl<S: AsyncFnMut(Change) -> Result<(), Failure>> Work<'_, S> {
    async fn run(&mut self, surveys: [&Survey; 2], root: Option<&str>) -> Result<(), Failure> {
        let [before, after] = surveys.map(|survey| places(survey, root));
        let (before, after) = without_needless_names(before?, after?);
        let names = before.keys().chain(after.keys());
        let names: std::collections::BTreeSet<_> = names.cloned().collect();
        for name in names {
            self.place(name, &before, &after).await?;
        }
        Ok(())
    }

    /// Compares one filesystem, or one system.
    async fn place(
        &mut self,
        name: Option<String>,
        before: &Places,
        after: &Places,
    ) -> Result<(), Failure> {
        let (Some(one), Some(other)) = (before.get(&name), after.get(&name)) else {
            let state = |places: &Places| places.get(&name).map(|_| FileState::default());
            self.summary.changes += 1;
            return (self.sink)(Change {
                change: if before.contains_key(&name) {
                    ChangeKind::Removed
                } else {
                    ChangeKind::Added
                },
                before: state(before),
                after: state(after),
                filesystem: name,
                path: "/".into(),
                what: vec![Aspect::Filesystem],
                diff: None,
            })
            .await;
        };
        let [left, right] = &self.sessions;
        let (skipped, others) = tokio::try_join!(mount(left, one), mount(right, other))?;
        self.summary.unread += skipped + others;
        let comparison = Comparison {
            sessions: [left, right],
            options: self.options,
            trusts_times: self.trusts_times,
            key: self.key,
            filesystem: name,
            progress: self.progress,
            summary: self.summary,
            sink: self.sink,
        };
        comparison.run().await?;
        tokio::try_join!(left.unmount(ROOT), right.unmount(ROOT))?;
        Ok(())
    }
}

/// Mounts a place. How many of its filesystems could not be mounted.
async fn mount(session: &Session, mounts: &[Mount]) -> Result<u64, SessionError> {
    let failed = session.mount(mounts, ROOT, true, false).await?;
    let missing = failed.iter().filter(|mount| mount.missing);
    Ok(missing
        .map(|mount| tracing::warn!("not mounted: {mount}"))
        .count() as u64)
}
