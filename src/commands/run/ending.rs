//! What is done with the disks when a run has ended: they are kept as images, and compared with what they
//! were.

use super::diff::RunDiff;
use crate::launch::keep::Keep;
use crate::launch::start::Launch;
use crate::launch::supervisor::Interrupted;
use crate::launch::{Failure, Outcome};
use crate::machine::Machine;
use crate::session::Session;

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
