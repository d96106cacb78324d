//! Starts a clone of a saved machine.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::TemplateError;
use super::memory;
use super::snapshot::Snapshot;
use super::store::Entry;
use crate::appliance::boot;
use crate::linux::file_id::FileStamp;
use crate::linux::{memfd, proc_fd};
use crate::machine::drives::Drives;
use crate::machine::phases::Phases;
use crate::machine::plan::{ChildFd, MemoryMapping, Plan, SnapshotConfig};
use crate::machine::{HeldResources, Machine};
use crate::session::{Seen, Session, SessionError};

/// How long a restored agent may take to answer: 30 ms on an idle host.
const RESUME_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) enum Template {
    /// From the store, which keeps it while this value exists.
    Stored(Box<Entry>),
    /// Made by this process, in memory.
    Fresh(Snapshot),
}

impl Template {
    /// Its directory, if it comes from the store.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Stored(entry) => Some(&entry.path),
            Self::Fresh(_) => None,
        }
    }

    /// The part of a clone's plan that restores it from this template.
    pub(crate) fn snapshot_config(
        &self,
        empty_disks: usize,
        generation_id: bool,
    ) -> SnapshotConfig {
        type Choice = fn((u64, u64)) -> MemoryMapping;
        let (best, (major, minor, _)): (Choice, _) = match self {
            Self::Stored(entry) => (MemoryMapping::for_clone, entry.manifest.qemu),
            Self::Fresh(snapshot) => (MemoryMapping::for_sealed, snapshot.qemu),
        };
        SnapshotConfig {
            memory: ChildFd(self.memory().as_raw_fd()),
            mapping: best((major, minor)),
            empty_disks,
            generation_id,
            devices_only: self.devices_only(),
        }
    }

    /// Whether the machine went on when it was saved: commands run in it, its network has leases, and
    /// it has no firmware, so that it cannot be reset.
    pub(crate) fn devices_only(&self) -> bool {
        match self {
            Self::Stored(entry) => entry.manifest.devices_only,
            Self::Fresh(snapshot) => snapshot.devices_only,
        }
    }

    /// Whether it was made by another QEMU than the one of this version.
    pub(crate) fn is_other(&self, numbers: (u64, u64, u64)) -> bool {
        match self {
            Self::Stored(entry) => entry.manifest.qemu != numbers,
            Self::Fresh(snapshot) => snapshot.qemu != numbers,
        }
    }

    /// What the memory takes now.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory()
            .metadata()
            .map_or(0, |file| file.blocks() * 512)
    }

    /// The template to restore several machines from at a time: where QEMU would open its memory's file
    /// for writing, they share one copy of it.
    pub(crate) fn for_several(self) -> Result<Self, TemplateError> {
        let mapping = self.snapshot_config(0, true).mapping;
        let entry = match self {
            Self::Stored(entry) if mapping == MemoryMapping::CopyOnWrite => entry,
            template => return Ok(template),
        };
        entry.verify_now()?;
        let mib = entry.memory.metadata()?.len() >> 20;
        let copy = memory::new(mib)?;
        memory::duplicate(&entry.memory, &copy)?;
        memfd::seal(&copy)?;
        Ok(Self::Fresh(Snapshot {
            memory: copy,
            state: entry.state,
            devices_only: entry.manifest.devices_only,
            machine: entry.manifest.machine,
            qemu: entry.manifest.qemu,
            overlays: entry.overlays,
        }))
    }

    fn memory(&self) -> &File {
        match self {
            Self::Stored(entry) => &entry.memory,
            Self::Fresh(snapshot) => &snapshot.memory,
        }
    }

    /// The overlays of its disks, by paths under which this process can open them.
    pub(crate) fn overlays(&self) -> Vec<PathBuf> {
        match self {
            Self::Stored(entry) => entry.overlays.iter().map(proc_fd::path).collect(),
            Self::Fresh(snapshot) => snapshot.overlays.iter().map(proc_fd::path).collect(),
        }
    }

    /// Whether its files match their digests, computed by a thread while QEMU starts. None if they
    /// were verified before.
    fn verify(&self) -> io::Result<Option<oneshot::Receiver<io::Result<bool>>>> {
        let Self::Stored(entry) = self else {
            return Ok(None);
        };
        if entry.is_verified() {
            return Ok(None);
        }
        let manifest = &entry.manifest;
        let mut files = vec![(entry.memory.try_clone()?, manifest.memory_digest.clone())];
        for (file, record) in entry.overlays.iter().zip(&manifest.overlays) {
            files.push((file.try_clone()?, record.digest.clone()));
        }
        let (send, receive) = oneshot::channel();
        std::thread::Builder::new().spawn(move || {
            let intact = files.iter().try_fold(true, |intact, (file, digest)| {
                Ok(intact && memory::digest(file)? == *digest)
            });
            // The receiver is gone if the restore has failed.
            let _ = send.send(intact);
        })?;
        Ok(Some(receive))
    }
}

impl Entry {
    /// Fails if its files do not match their digests.
    fn verify_now(&self) -> Result<(), TemplateError> {
        let mut is_intact = FileStamp::of(&self.memory)? == self.manifest.memory;
        if !self.is_verified() {
            is_intact &= memory::digest(&self.memory)? == self.manifest.memory_digest;
            for (file, record) in self.overlays.iter().zip(&self.manifest.overlays) {
                is_intact &= memory::digest(file)? == record.digest;
            }
        }
        if !is_intact {
            return Err(TemplateError::Damaged(self.path.clone()));
        }
        self.mark_verified();
        Ok(())
    }
}

/// The memory file that the QEMU of a clone inherits.
enum CloneMemory<'a> {
    /// The template's own, which QEMU cannot change: opened for reading, or sealed.
    Template(&'a File),
    /// A copy, for a QEMU that opens it for writing itself: with the original, one that was taken over
    /// could change what other clones see. A thread fills it while QEMU starts.
    Copy {
        file: File,
        filled: oneshot::Receiver<io::Result<()>>,
        /// Whether it is made immutable: the clone's writes are private.
        is_sealed: bool,
    },
}

impl<'a> CloneMemory<'a> {
    fn start(template: &'a Template, plan: &mut Plan) -> io::Result<Self> {
        let own = template.memory();
        let Some(snapshot) = &mut plan.snapshot else {
            return Ok(Self::Template(own));
        };
        let is_sealed = match (snapshot.mapping, template) {
            (MemoryMapping::SharedRestored, _) => false,
            (MemoryMapping::CopyOnWrite, Template::Stored(_)) => true,
            _ => return Ok(Self::Template(own)),
        };
        let copy = memory::new(plan.memory_mib)?;
        snapshot.memory = ChildFd(copy.as_raw_fd());
        let (from, to) = (own.try_clone()?, copy.try_clone()?);
        let (send, receive) = oneshot::channel();
        std::thread::Builder::new().spawn(move || {
            // The receiver is gone if the restore has failed.
            let _ = send.send(memory::duplicate(&from, &to));
        })?;
        Ok(Self::Copy {
            file: copy,
            filled: receive,
            is_sealed,
        })
    }

    fn file(&self) -> &File {
        match self {
            Self::Template(file) => file,
            Self::Copy { file, .. } => file,
        }
    }

    /// Waits until the memory is there, and makes it immutable unless the clone writes to it. Before
    /// the clone runs. Returns the copy, if it is one.
    async fn finish(self) -> io::Result<Option<File>> {
        match self {
            Self::Template(_) => Ok(None),
            Self::Copy {
                file,
                filled,
                is_sealed,
            } => {
                filled.await.map_err(io::Error::other)??;
                if is_sealed {
                    memfd::seal(&file)?;
                }
                Ok(Some(file))
            }
        }
    }
}

/// Starts a clone of `template` with devices as in `plan`, which has the template's
/// [`Template::snapshot_config`] and whose disks may take the place of empty ones. Its processors are stopped.
pub(crate) async fn start_restored(
    plan: Plan,
    template: &Template,
    drives: &Drives,
    resources: HeldResources<'_>,
    phases: &Phases,
) -> Result<Machine, TemplateError> {
    let started = start(plan, template, drives, resources, phases).await?;
    Ok(started.0)
}

/// The same for a machine that is to be saved again, with its memory.
pub(crate) async fn start_to_be_saved(
    mut plan: Plan,
    template: &Template,
    drives: &Drives,
    resources: HeldResources<'_>,
    phases: &Phases,
) -> Result<(Machine, File), TemplateError> {
    plan.snapshot = Some(SnapshotConfig {
        mapping: MemoryMapping::SharedRestored,
        ..template.snapshot_config(0, true)
    });
    let (machine, memory) = start(plan, template, drives, resources, phases).await?;
    let memory = memory.ok_or_else(|| io::Error::other("no copy of the memory"))?;
    Ok((machine, memory))
}

/// Starts the machine; returns the copy of the template's memory, if it has one.
async fn start(
    mut plan: Plan,
    template: &Template,
    drives: &Drives,
    mut resources: HeldResources<'_>,
    phases: &Phases,
) -> Result<(Machine, Option<File>), TemplateError> {
    let verified = template.verify()?;
    let (machine, state) = match template {
        Template::Stored(entry) => (&entry.manifest.machine, &entry.state),
        Template::Fresh(snapshot) => (&snapshot.machine, &snapshot.state),
    };
    plan.machine.clone_from(machine);
    let memory = CloneMemory::start(template, &mut plan)?;
    resources.files.push(memory.file().as_fd());
    let mut machine = Machine::start(&plan, resources).await?;
    phases.mark_at("spawned", machine.spawned());
    phases.mark("greeted");
    let copy = memory.finish().await?;
    drives.check_headers()?;
    machine.restore(state).await?;
    phases.mark("restored");
    if let Template::Stored(entry) = template
        && FileStamp::of(&entry.memory)? != entry.manifest.memory
    {
        // It was written to while it was read.
        return Err(TemplateError::Damaged(entry.path.clone()));
    }
    if let (Some(verified), Template::Stored(entry)) = (verified, template) {
        // The thread always sends its result.
        if !verified.await.map_err(io::Error::other)?? {
            return Err(TemplateError::Damaged(entry.path.clone()));
        }
        entry.mark_verified();
    }
    phases.mark("checked");
    Ok((machine, copy))
}

/// Connects to the agent of a restored machine that runs, and gives the guest new random numbers
/// and this host's time.
pub(crate) async fn resume(
    machine: &mut Machine,
    phases: &Phases,
) -> Result<Session, TemplateError> {
    let session = boot::connect(machine, RESUME_LIMIT).await?;
    renew(session, phases).await
}

/// [`resume`] for a branch of a machine, whose commands go on.
pub(crate) async fn resume_branch(
    machine: &mut Machine,
    phases: &Phases,
) -> Result<Session, TemplateError> {
    let session = boot::connect_by(machine, async |port| {
        Session::join(port, RESUME_LIMIT).await
    });
    renew(session.await?, phases).await
}

async fn renew(session: Session, phases: &Phases) -> Result<Session, TemplateError> {
    phases.mark("agent");
    // Before anything else: other clones would draw the same random numbers.
    answered(async { tokio::try_join!(session.add_entropy(), session.set_clock()) }).await?;
    phases.mark("clock");
    Ok(session)
}

/// What a restored agent is asked for before the machine is used. It may have stopped after its hello.
pub(crate) async fn answered<T>(
    request: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let done = tokio::time::timeout(RESUME_LIMIT, request).await;
    done.unwrap_or(Err(SessionError::Silent {
        deadline: RESUME_LIMIT,
        seen: Seen::default(),
    }))
}
