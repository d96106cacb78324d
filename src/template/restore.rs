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
use crate::machine::args::argv;
use crate::machine::drives::Drives;
use crate::machine::plan::{ChildFd, Disk, Plan, Saving, UseOfMemory};
use crate::machine::{Channels, Machine};

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
    let digest = match template {
        Template::Stored(stored) => Some(digest(stored.memory.try_clone()?)?),
        Template::Made(_) => None,
    };
    let (name, version) = template.machine();
    let memory = template.memory();
    let channels = Channels::new(true)?;
    let ends = Ends::of(&channels);
    let plan = Plan {
        machine: name.to_owned(),
        saving: Some(Saving {
            memory: ChildFd(memory.as_raw_fd()),
            use_of_memory: UseOfMemory::of_a_clone((version.0, version.1)),
            vacant_disks: disks.len(),
        }),
        ..boot::plan(settings, disks, ends)
    };
    let mut files = drives.files();
    files.push(memory.as_fd());
    let holdings = holdings(channels, files, max_write);
    let phases = &settings.phases;
    let mut machine = Machine::start(plan.qemu.clone(), &argv(&plan), holdings).await?;
    phases.mark_at("spawned", machine.spawned());
    phases.mark("greeted");
    drives.check_headers()?;
    machine.restore(template.state()).await?;
    phases.mark("restored");
    if let (Some(digest), Template::Stored(stored)) = (digest, template) {
        // Its thread ends with an answer.
        let digest = digest.await.map_err(io::Error::other)??;
        if digest != stored.manifest.memory_digest {
            return Err(TemplateError::Memory(stored.path.clone()));
        }
    }
    phases.mark("checked");
    machine.cont().await?;
    phases.mark("running");
    for (index, bytes) in drives.disk_sizes().iter().enumerate().take(count) {
        machine.grow_disk(index, *bytes).await?;
    }
    phases.mark("disks");
    let session = boot::greet(&mut machine, AWAKE).await?;
    phases.mark("agent");
    // Before anything else is asked of it: its clones would draw the same random numbers.
    tokio::try_join!(session.add_entropy(), session.set_clock())?;
    phases.mark("clock");
    tracing::debug!("the appliance is restored from its template");
    Ok(Appliance { machine, session })
}

/// The digest of a file, made by a thread of its own while QEMU starts.
fn digest(file: File) -> io::Result<oneshot::Receiver<io::Result<String>>> {
    let (send, receive) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        // Nobody waits for it any more where the restore has failed.
        let _ = send.send(memory::digest(&file));
    })?;
    Ok(receive)
}
