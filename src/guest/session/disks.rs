//! The disks of the guest: what is on them, and mounting it.

use super::{Session, SessionError};
use crate::guest::wire::disks::{Mount, Survey};
use crate::guest::wire::seed::{Seeding, Stage};
use crate::guest::wire::{ByteString, Operation, Response};

impl Session {
    /// Looks at every disk of the appliance, once `disks` of them are there.
    ///
    /// # Errors
    /// The session ends. What is wrong with a disk is among the survey's warnings.
    pub async fn survey(&self, disks: usize) -> Result<Survey, SessionError> {
        match self.ask(Operation::Survey { disks }).await? {
            Response::Survey(survey) => Ok(*survey),
            _ => Err(SessionError::Over),
        }
    }

    /// Mounts a plan at a directory of the guest, which is made where it is missing. Gives one
    /// sentence for each mount besides the root that failed.
    ///
    /// # Errors
    /// The root cannot be mounted, or the session ends.
    pub async fn mount(
        &self,
        mounts: &[Mount],
        at: &str,
        read_only: bool,
        for_commands: bool,
    ) -> Result<Vec<String>, SessionError> {
        let op = Operation::Mount {
            mounts: mounts.to_vec(),
            at: ByteString(at.into()),
            read_only,
            for_commands,
        };
        match self.ask(op).await? {
            Response::Mounted { failed } => Ok(failed),
            _ => Err(SessionError::Over),
        }
    }

    /// Has the appliance do ahead what it can: it is about to be saved.
    ///
    /// # Errors
    /// The session ends.
    pub async fn warm(&self) -> Result<(), SessionError> {
        self.ask(Operation::Warm).await.map(drop)
    }

    /// Takes away what is mounted at a directory of the guest, and below it.
    ///
    /// # Errors
    /// The session ends.
    pub async fn unmount(&self, at: &str) -> Result<(), SessionError> {
        let at = ByteString(at.into());
        self.ask(Operation::Unmount { at }).await.map(drop)
    }

    /// Puts the agent into the root that is mounted at a directory of the guest.
    ///
    /// # Errors
    /// Nothing in it could start the agent ([`crate::guest::wire::ErrorStage::Seed`]), it cannot be
    /// written to, or the session ends.
    pub async fn seed(&self, at: &str, stage: Stage) -> Result<Seeding, SessionError> {
        let at = ByteString(at.into());
        match self.ask(Operation::Seed { at, stage }).await? {
            Response::Seeded(seeding) => Ok(seeding),
            _ => Err(SessionError::Over),
        }
    }
}
