//! A machine that is booted to be saved.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use tokio::sync::mpsc;

use super::error::TemplateError;
use super::memory;
use crate::guest::appliance;
use crate::guest::boot::{self, BootError, Ends, Settings};
use crate::linux::memfd;
use crate::machine::args::argv;
use crate::machine::console::Sinks;
use crate::machine::plan::{ChildFd, Network, Plan, Saving, UseOfMemory};
use crate::machine::{Channels, Holdings, Machine};

/// How long the guest gets to end what it does after its last answer, before it is saved.
const SETTLE: Duration = Duration::from_millis(200);

/// A machine that this process has saved.
#[derive(Debug)]
pub struct Made {
    /// Sealed.
    pub(super) memory: File,
    /// The state of everything else.
    pub(super) state: Vec<u8>,
    /// QEMU's machine type, with its version.
    pub(super) machine: String,
    /// QEMU's version.
    pub(super) qemu: (u64, u64, u64),
    /// Its overlays. Nobody writes to them any more.
    pub(super) overlays: Vec<File>,
}

/// Boots an appliance with vacant disks, and saves it.
pub(super) async fn build(settings: &Settings, disks: usize) -> Result<Made, TemplateError> {
    let settings = &settings.with_one_accelerator();
    let from = appliance::make(&settings.kernel).map_err(BootError::from)?;
    let memory = memory::new(settings.memory_mib)?;
    let channels = Channels::new(true)?;
    let ends = Ends::of(&channels).with_kernel(&from.kernel, &from.initramfs);
    let plan = Plan {
        saving: Some(Saving {
            memory: ChildFd(memory.as_raw_fd()),
            use_of_memory: UseOfMemory::Shared,
            vacant_disks: disks,
            generation_id: false,
        }),
        ..boot::plan(settings, Vec::new(), ends)
    };
    let files = vec![memory.as_fd(), from.kernel.as_fd(), from.initramfs.as_fd()];
    let holdings = holdings(channels, files, None);
    let mut machine = Machine::start(plan.qemu.clone(), &argv(&plan), holdings).await?;
    machine.cont().await?;
    let session = boot::wait_for_agent(&mut machine).await?;
    session.warm().await?;
    // Its code and what it reads are in memory then.
    session.survey(0).await?;
    // The session stays: a port whose other end is closed is not idle.
    let made = save(machine, &plan, memory, Vec::new()).await;
    drop(session);
    made
}

/// Saves a machine of this plan that is ready, whose memory is the file `memory`, with
/// its overlays, and ends it. What its network knows of it is not saved, if it has one.
///
/// # Errors
/// It cannot be saved.
pub async fn save(
    mut machine: Machine,
    plan: &Plan,
    memory: File,
    overlays: Vec<File>,
) -> Result<Made, TemplateError> {
    tokio::time::sleep(SETTLE).await;
    let versioned = match machine.type_of(&plan.machine).await? {
        Some(versioned) => versioned,
        None => return Err(TemplateError::NoMachineType),
    };
    if plan.network != Network::None {
        machine.leave_network().await?;
    }
    let state = machine.save().await?;
    let qemu = machine.version().numbers;
    machine.stop(Duration::ZERO).await?;
    memfd::seal(&memory)?;
    Ok(Made {
        memory,
        state,
        machine: versioned,
        qemu,
        overlays,
    })
}

/// Nobody types at an appliance or reads its console, but for the last lines.
pub(super) fn holdings<'a>(
    channels: Channels,
    files: Vec<BorrowedFd<'a>>,
    max_file_size: Option<u64>,
) -> Holdings<'a> {
    Holdings {
        channels,
        files,
        max_file_size,
        sinks: Sinks {
            output: None,
            log: None,
        },
        input: mpsc::channel(1).1,
    }
}
