//! A saved machine with an image's disks in place of its vacant ones.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::TemplateError;
use super::memory;
use super::saved::{Made, holdings};
use super::store::Stored;
use crate::guest::boot::{self, Appliance, Ends, Settings};
use crate::guest::session::Session;
use crate::linux::proc_fd;
use crate::machine::args::argv;
use crate::machine::drives::Drives;
use crate::machine::phases::Phases;
use crate::machine::plan::{ChildFd, Disk, Plan, Saving, UseOfMemory};
use crate::machine::{Channels, Holdings, Machine};

/// How long a restored agent may take to answer: 30 ms, were it alone.
const AWAKE: Duration = Duration::from_secs(60);

/// A machine that was saved: from the store, or just made.
#[derive(Debug)]
pub enum Template {
    /// From the store. While this is held, it stays there.
    Stored(Box<Stored>),
    /// Made by this process, in memory.
    Made(Made),
}

impl Template {
    /// Where it is, if it is in the store.
    pub fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Stored(stored) => Some(stored.path.clone()),
            Self::Made(_) => None,
        }
    }

    fn memory(&self) -> &File {
        match self {
            Self::Stored(stored) => &stored.memory,
            Self::Made(made) => &made.memory,
        }
    }

    fn state(&self) -> &[u8] {
        match self {
            Self::Stored(stored) => &stored.state,
            Self::Made(made) => &made.state,
        }
    }

    /// The overlays of its disks, by names under which this process can open them.
    pub fn overlays(&self) -> Vec<PathBuf> {
        match self {
            Self::Stored(stored) => stored.overlays.iter().map(|one| one.0.clone()).collect(),
            Self::Made(made) => made.overlays.iter().map(proc_fd::path).collect(),
        }
    }

    /// Whether its files have their digests, found out by a thread of its own while QEMU starts.
    /// None where this was seen already.
    fn check(&self) -> io::Result<Option<oneshot::Receiver<io::Result<bool>>>> {
        let Self::Stored(stored) = self else {
            return Ok(None);
        };
        if stored.is_known_as_whole() {
            return Ok(None);
        }
        let manifest = &stored.manifest;
        let mut files = vec![(stored.memory.try_clone()?, manifest.memory_digest.clone())];
        for ((_, file), kept) in stored.overlays.iter().zip(&manifest.overlays) {
            files.push((file.try_clone()?, kept.digest.clone()));
        }
        let (send, receive) = oneshot::channel();
        std::thread::Builder::new().spawn(move || {
            let whole = files.iter().try_fold(true, |whole, (file, digest)| {
                Ok(whole && memory::digest(file)? == *digest)
            });
            // Nobody waits for it any more where the restore has failed.
            let _ = send.send(whole);
        })?;
        Ok(Some(receive))
    }

    fn machine(&self) -> (&str, (u64, u64, u64)) {
        match self {
            Self::Stored(stored) => (&stored.manifest.machine, stored.manifest.qemu),
            Self::Made(made) => (&made.machine, made.qemu),
        }
    }
}

/// Restores an appliance with `disks` in place of its vacant ones.
pub(super) async fn restore(
    settings: &Settings,
    template: &Template,
    drives: &Drives,
    disks: Vec<Disk>,
    max_write: Option<u64>,
) -> Result<Appliance, TemplateError> {
    let settings = &settings.with_one_accelerator();
    let count = disks.len();
    let channels = Channels::new(true)?;
    let plan = boot::plan(settings, disks, Ends::of(&channels));
    let saving = |memory, use_of_memory| Saving {
        memory,
        use_of_memory,
        vacant_disks: count,
        generation_id: false,
    };
    let phases = &settings.phases;
    let holdings = holdings(channels, drives.files(), max_write);
    let mut machine = restored(plan, saving, template, drives, holdings, phases).await?;
    machine.cont().await?;
    phases.mark("running");
    for (index, bytes) in drives.disk_sizes().iter().enumerate().take(count) {
        machine.grow_disk(index, *bytes).await?;
    }
    phases.mark("disks");
    let session = awake(&mut machine, phases).await?;
    tracing::debug!("the appliance is restored from its template");
    Ok(Appliance { machine, session })
}

/// A saved machine whose processors stand still: a clone with devices as in `plan`, where the
/// image's disks may be in place of vacant ones.
///
/// # Errors
/// It cannot be restored, or the template is damaged.
pub async fn restored<'a>(
    mut plan: Plan,
    saving: impl FnOnce(ChildFd, UseOfMemory) -> Saving,
    template: &'a Template,
    drives: &Drives,
    mut holdings: Holdings<'a>,
    phases: &Phases,
) -> Result<Machine, TemplateError> {
    let is_whole = template.check()?;
    let (name, version) = template.machine();
    let memory = template.memory();
    plan.machine = name.to_owned();
    plan.saving = Some(saving(
        ChildFd(memory.as_raw_fd()),
        UseOfMemory::of_a_clone((version.0, version.1)),
    ));
    holdings.files.push(memory.as_fd());
    let mut machine = Machine::start(plan.qemu.clone(), &argv(&plan), holdings).await?;
    phases.mark_at("spawned", machine.spawned());
    phases.mark("greeted");
    drives.check_headers()?;
    machine.restore(template.state()).await?;
    phases.mark("restored");
    if let (Some(is_whole), Template::Stored(stored)) = (is_whole, template) {
        // Its thread ends with an answer.
        if !is_whole.await.map_err(io::Error::other)?? {
            return Err(TemplateError::Damaged(stored.path.clone()));
        }
        stored.mark_whole();
    }
    phases.mark("checked");
    Ok(machine)
}

/// The agent of a restored machine that runs, with random numbers of its own and this host's
/// time.
///
/// # Errors
/// It does not answer.
pub async fn awake(machine: &mut Machine, phases: &Phases) -> Result<Session, TemplateError> {
    let session = boot::greet(machine, AWAKE).await?;
    phases.mark("agent");
    // Before anything else is asked of it: its clones would draw the same random numbers.
    tokio::try_join!(session.add_entropy(), session.set_clock())?;
    phases.mark("clock");
    Ok(session)
}
