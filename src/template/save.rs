//! Saves a machine that is ready.

use std::fs::File;
use std::time::Duration;

use super::error::TemplateError;
use super::snapshot::Snapshot;
use crate::linux::memfd;
use crate::machine::Machine;
use crate::machine::plan::{Network, Plan};

/// How long the guest gets to finish what follows its last answer, before it is saved.
const SETTLE: Duration = Duration::from_millis(200);

/// Saves a machine of this plan, whose memory is the file `memory`, with its overlays, and ends it.
/// The state of the host's side of its network is not saved.
pub(crate) async fn take_snapshot(
    mut machine: Machine,
    plan: &Plan,
    memory: File,
    overlays: Vec<File>,
) -> Result<Snapshot, TemplateError> {
    tokio::time::sleep(SETTLE).await;
    let Some(versioned) = machine.type_of(&plan.machine).await? else {
        return Err(TemplateError::NoMachineType);
    };
    if plan.network != Network::None {
        machine.leave_network().await?;
    }
    let state = machine.save().await?;
    let qemu = machine.version().numbers;
    machine.stop(Duration::ZERO).await?;
    memfd::seal(&memory)?;
    Ok(Snapshot {
        memory,
        state,
        devices_only: false,
        machine: versioned,
        qemu,
        overlays,
    })
}
