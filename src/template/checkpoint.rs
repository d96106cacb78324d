//! Makes a checkpoint: a snapshot of a machine that goes on.
//!
//! The memory is a copy of the file that the machine was started over, with the pages that the guest
//! has written since. Everything that takes long is done before the CPUs are stopped.

use std::fs::File;
use std::io;

use tokio::sync::oneshot;

use super::error::{IDLE_LIMIT, TemplateError};
use super::memory;
use super::snapshot::Snapshot;
use crate::linux::{memfd, proc_fd};
use crate::machine::Machine;
use crate::machine::drives::{Drives, NewOverlay};
use crate::machine::phases::Phases;
use crate::machine::plan::Plan;
use crate::machine::written_pages::WrittenPages;
use crate::session::Session;

/// Saves a machine of this plan with its disks, and lets it go on. The disks' contents at that moment
/// are layers of `drives` afterwards. After an error the machine goes on, if it can; it is of no use
/// if this is dropped half way.
pub(crate) async fn take_checkpoint(
    machine: &mut Machine,
    session: &Session,
    drives: &mut Drives,
    plan: &Plan,
    phases: &Phases,
) -> Result<Snapshot, TemplateError> {
    machine.snapshot_allowed().await?;
    let Some(versioned) = machine.type_of(&plan.machine).await? else {
        return Err(TemplateError::NoMachineType);
    };
    let base = machine.memory().ok_or(TemplateError::NoMemoryFile)?;
    // With a position of its own.
    let base = File::open(proc_fd::path(base))?;
    let written = machine.written_pages().map_err(TemplateError::Memory)?;
    let (memory, written) = in_thread(move || first_pass(&base, written)).await?;
    phases.mark("copied");
    let overlays = drives.new_overlays()?;
    let opened = machine.open_overlays(&overlays, drives, &plan.extra);
    let saved = match opened.await {
        Ok(()) => {
            let copy = memory.try_clone()?;
            let copy = || in_thread(move || written.copy(&copy));
            save(machine, session, &overlays, phases, copy).await
        }
        Err(error) => Err(error.into()),
    };
    let state = match saved {
        Ok(state) => state,
        Err(error) => {
            machine.close_overlays(&overlays).await;
            return Err(error);
        }
    };
    drives.replace_overlays(overlays)?;
    memfd::seal(&memory)?;
    Ok(Snapshot {
        memory,
        state,
        devices_only: true,
        machine: versioned,
        qemu: machine.version().numbers,
        overlays: Vec::new(),
    })
}

/// What the guest writes while this is done is copied again when it is stopped; but then the file
/// has those pages already.
fn first_pass(base: &File, written: WrittenPages) -> io::Result<(File, WrittenPages)> {
    let copy = memfd::create(c"bivouac-memory")?;
    copy.set_len(base.metadata()?.len())?;
    memory::duplicate(base, &copy)?;
    written.copy(&copy)?;
    Ok((copy, written))
}

/// Stops the machine when its agent has everything that was sent to it, and continues it when the
/// rest of it is saved.
async fn save<F: Future<Output = io::Result<u64>>>(
    machine: &mut Machine,
    session: &Session,
    overlays: &[NewOverlay],
    phases: &Phases,
    copy_memory: impl FnOnce() -> F,
) -> Result<Vec<u8>, TemplateError> {
    let Some(held) = session.hold(IDLE_LIMIT).await? else {
        return Err(TemplateError::AgentBusy);
    };
    phases.mark("held");
    machine.pause().await?;
    phases.mark("paused");
    let saving = async {
        let state = machine.save_devices().await?;
        phases.mark("devices");
        let bytes = copy_memory().await.map_err(TemplateError::Memory)?;
        tracing::debug!("{} MiB of memory were written", bytes >> 20);
        phases.mark("memory");
        machine.put_overlays_on_top(overlays).await?;
        phases.mark("disks");
        Ok(state)
    };
    let saved = saving.await;
    // If this fails, the machine has ended, and says so where it is waited for.
    let continued = machine.cont().await;
    phases.mark("continued");
    drop(held);
    match (saved, continued) {
        (Ok(_), Err(error)) => Err(error.into()),
        (saved, _) => saved,
    }
}

async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (send, receive) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        // The receiver is gone if the work is no longer wanted.
        let _ = send.send(work());
    })?;
    receive.await.map_err(io::Error::other)?
}
