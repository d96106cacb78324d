//! What is done with the disks when a run has ended: they are kept as images, and compared with what they
//! were.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::diff::RunDiff;
use crate::launch::keep::{Keep, KeepSpec};
use crate::launch::start::Launch;
use crate::launch::supervisor::Interrupted;
use crate::launch::{Failure, Outcome};
use crate::machine::Machine;
use crate::session::Session;
use crate::text::escape::Quoted;

pub(super) struct Ending<'a> {
    pub keep: Option<Keep>,
    pub diff: Option<RunDiff<'a>>,
    /// Whether the overlays hold all that the guest has written.
    is_complete: bool,
}

impl<'a> Ending<'a> {
    pub fn new(keep: Option<Keep>, diff: Option<RunDiff<'a>>) -> Self {
        Self {
            keep,
            diff,
            is_complete: false,
        }
    }

    pub fn is_wanted(&self) -> bool {
        self.keep.is_some() || self.diff.is_some()
    }

    /// Keeps the disks too, in this directory, by a name after the image's that is not taken. Says so.
    pub fn keep_too(&mut self, launch: &Launch<'_>) -> Result<(), Failure> {
        if self.keep.is_none() {
            let image = launch
                .spec
                .image
                .as_ref()
                .map(|request| request.image.as_path());
            let stem = image
                .and_then(Path::file_stem)
                .unwrap_or("machine".as_ref());
            let path = free_name(stem)?;
            let (full, force) = (false, false);
            let spec = KeepSpec { path, full, force };
            let vm = &launch.vm;
            self.keep = Some(Keep::create(&spec, &vm.drives, vm.plan.disks.len())?);
        }
        if let Some(keep) = &self.keep {
            let name = Quoted(keep.path());
            let text = format!("bivouac: {name} will hold what the guest has written when it ends");
            launch.progress.message(&text);
        }
        Ok(())
    }

    /// Before the machine is stopped: writes what its guest and QEMU still hold to the overlays.
    pub async fn settle(
        &mut self,
        launch: &mut Launch<'_>,
        machine: &mut Machine,
        session: Option<&Session>,
    ) -> Result<(), Interrupted> {
        if !self.is_wanted() {
            return Ok(());
        }
        launch.settle(machine, session).await?;
        if let Some(keep) = &mut self.keep {
            launch.collect(keep, machine).await?;
        }
        self.is_complete = true;
        Ok(())
    }

    /// When it has been stopped. How the run ended counts for more than an error here, unless it went
    /// well.
    pub async fn finish(
        self,
        launch: &mut Launch<'_>,
        outcome: Outcome,
    ) -> Result<Outcome, Failure> {
        let is_success = outcome.status().code() == 0;
        match self.all(launch).await {
            Err(failure) if is_success => Err(failure),
            Err(failure) => {
                tracing::warn!("{:#}", failure.error);
                Ok(outcome)
            }
            Ok(()) => Ok(outcome),
        }
    }

    async fn all(self, launch: &mut Launch<'_>) -> Result<(), Failure> {
        if !self.is_complete {
            if self.is_wanted() {
                let what = if self.keep.is_some() {
                    "kept"
                } else {
                    "compared"
                };
                tracing::warn!("nothing is {what}: the machine did not end as it was meant to");
            }
            return Ok(());
        }
        let kept = match self.keep {
            Some(keep) => launch.publish(keep).await,
            None => Ok(()),
        };
        match self.diff {
            Some(diff) => diff.write(launch).await.and(kept),
            None => kept,
        }
    }
}

/// The first of `STEM-kept.qcow2`, `STEM-kept-2.qcow2` and so on that does not exist.
fn free_name(stem: &OsStr) -> Result<PathBuf, Failure> {
    let names = (1..1000).map(|number| {
        let mut name = stem.to_owned();
        match number {
            1 => name.push("-kept.qcow2"),
            number => name.push(format!("-kept-{number}.qcow2")),
        }
        PathBuf::from(name)
    });
    let mut free = names.filter(|name| name.symlink_metadata().is_err());
    free.next()
        .ok_or_else(|| anyhow::anyhow!("there are a thousand kept images here").into())
}
