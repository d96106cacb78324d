//! Saves a machine that is ready.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::error::TemplateError;
use super::memory;
use crate::machine::Machine;
use crate::machine::plan::{Network, Plan};

/// How long the guest gets to finish what follows its last answer, before it is saved.
const SETTLE: Duration = Duration::from_millis(200);

/// A saved machine.
#[derive(Debug)]
pub struct Snapshot {
    /// Its memory.
    pub memory: File,
    /// The state of everything else.
    pub state: Vec<u8>,
    /// QEMU's machine type, with its version.
    pub machine: String,
    /// QEMU's version: major, minor, micro.
    pub qemu: (u64, u64, u64),
    /// The overlays, which are no longer written to.
    pub overlays: Vec<File>,
}

impl Snapshot {
    /// How many bytes it takes on a filesystem.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        let mut bytes = self.state.len() as u64;
        for file in self.overlays.iter().chain([&self.memory]) {
            bytes += file.metadata()?.blocks() * 512;
        }
        Ok(bytes)
    }
}

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
    memory::seal(&memory)?;
    Ok(Snapshot {
        memory,
        state,
        machine: versioned,
        qemu,
        overlays,
    })
}
