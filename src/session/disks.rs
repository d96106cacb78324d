//! The disks of the guest: what is on them, mounting it, and injecting the agent.

use super::messages::SurveyStep;
use super::{Session, SessionError};
use crate::protocol::crypt::Unlock;
use crate::protocol::disks::{Mount, SkippedMount, Survey};
use crate::protocol::inject::{Injection, Stage};
use crate::protocol::{ByteString, Operation};

impl Session {
    /// Inspects every disk of the appliance, once it has `disks` of them. Problems with a disk are
    /// among the survey's warnings.
    pub(crate) async fn survey(&self, disks: usize) -> Result<Survey, SessionError> {
        self.request(Operation::Survey { disks }).await
    }

    /// As [`Session::survey`], of an appliance that is saved with its image, or was.
    pub(crate) async fn kept_survey(&self, disks: usize) -> Result<Survey, SessionError> {
        self.request(Operation::KeptSurvey { disks }).await
    }

    /// As [`Session::survey`], but stops at encrypted volumes for [`Session::unlock`].
    pub(crate) async fn survey_unlocking(&self, disks: usize) -> Result<SurveyStep, SessionError> {
        self.request(Operation::SurveyUnlocking { disks }).await
    }

    /// Goes on with such a survey.
    pub(crate) async fn unlock(&self, answers: Vec<Unlock>) -> Result<SurveyStep, SessionError> {
        self.request(Operation::Unlock { answers }).await
    }

    /// Mounts filesystems at a directory of the guest, which is created if missing. Fails if the
    /// root cannot be mounted. Returns the other mounts that failed.
    pub(crate) async fn mount(
        &self,
        mounts: &[Mount],
        at: &str,
        read_only: bool,
        for_commands: bool,
    ) -> Result<Vec<SkippedMount>, SessionError> {
        self.request(Operation::Mount {
            mounts: mounts.to_vec(),
            at: at.into(),
            read_only,
            for_commands,
        })
        .await
    }

    /// Has the appliance do ahead of time what it can, because it is about to be saved.
    pub(crate) async fn warm(&self) -> Result<(), SessionError> {
        self.request(Operation::Warm).await
    }

    /// Unmounts everything at and below a directory of the guest.
    pub(crate) async fn unmount(&self, at: &str) -> Result<(), SessionError> {
        let at = ByteString::from(at);
        self.request(Operation::Unmount { at }).await
    }

    /// Injects the agent into the root that is mounted at a directory of the guest. If nothing in
    /// it could start the agent, the error is [`crate::protocol::ErrorStage::Inject`].
    /// With `driver`, the driver of its port goes with it, for the kernel of this guest.
    pub(crate) async fn inject(
        &self,
        at: &str,
        stage: Stage,
        driver: bool,
    ) -> Result<Injection, SessionError> {
        let at = ByteString::from(at);
        let inject = Operation::Inject { at, stage, driver };
        self.request(inject).await
    }
}
