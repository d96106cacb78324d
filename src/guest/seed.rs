//! Seeds an overlay: an appliance that has a machine's disks mounts each root that is on them,
//! puts the agent into it, and lets go of it again. The images are untouched, because every
//! write lands in the overlays, and those are what the machine boots from afterwards.

use super::boot::ROOT;
use super::session::{Session, SessionError};
use super::wire::disks::Root;
use super::wire::seed::{Seeding, Stage};

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Seeded {
    /// The roots that will start the agent, by their devices, and how.
    pub roots: Vec<(String, Seeding)>,
    /// Why the others will not, and what was remarkable about the disks, one sentence each.
    pub refused: Vec<String>,
}

/// Seeds every root on so many disks: which of several is booted, the boot loader says. All of
/// it is on the disks in the end.
///
/// # Errors
/// The session ends.
pub async fn seed(session: &Session, disks: usize, stage: Stage) -> Result<Seeded, SessionError> {
    // For the times of the files.
    session.set_clock().await?;
    let survey = session.survey(disks).await?;
    let mut seeded = Seeded {
        roots: Vec::new(),
        refused: survey.warnings,
    };
    for root in &survey.roots {
        let device = root.device.clone();
        match one(session, root, stage).await {
            Ok(seeding) => seeded.roots.push((device, seeding)),
            Err(SessionError::Refused(error)) => {
                seeded.refused.push(format!("{device}: {error}"));
            }
            Err(error) => return Err(error),
        }
        // Also where only some of it was mounted.
        session.unmount(ROOT).await?;
    }
    session.sync().await?;
    Ok(seeded)
}

async fn one(session: &Session, root: &Root, stage: Stage) -> Result<Seeding, SessionError> {
    for failed in session.mount(&root.mounts, ROOT, false, false).await? {
        tracing::debug!("not mounted: {failed}");
    }
    session.seed(ROOT, stage).await
}
