//! The template of the appliance: found or built, and restored with an image's disks.
//!
//! The appliance is saved without a disk: it has vacant ones, without a byte. A restored one has
//! the image's in their place, and learns that they have grown. So nothing of any image is ever in
//! a template, no bus is searched after the restore, and one template serves all images.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::key::Key;
use super::memory;
use super::store::{Building, Saved, Store, StoreError, Stored, Turn};
use crate::guest::appliance;
use crate::guest::boot::{self, Appliance, BootError, Ends, MACHINE, Settings};
use crate::guest::session::SessionError;
use crate::machine::args::argv;
use crate::machine::console::Sinks;
use crate::machine::drives::{DriveError, Drives};
use crate::machine::plan::{ChildFd, Disk, Plan, Saving, UseOfMemory};
use crate::machine::saving::SavingError;
use crate::machine::{Channels, Holdings, Machine, StartError};

/// How long another process may take to build the template before this one boots by itself.
const OTHERS_BUILD: Duration = Duration::from_secs(180);
/// How often it is looked whether that process is done.
const LOOK: Duration = Duration::from_millis(20);
/// How long the guest gets to end what it does after its last answer, before it is saved.
const SETTLE: Duration = Duration::from_millis(200);
/// How long a restored agent may take to answer: 30 ms, were it alone.
const AWAKE: Duration = Duration::from_secs(60);

/// Why there is no template, or it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The appliance that was to be saved.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Saving or restoring.
    #[error(transparent)]
    Saving(#[from] SavingError),
    /// The agent.
    #[error("the appliance's agent")]
    Agent(#[from] SessionError),
    /// An image changed meanwhile.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// What QEMU said it would do, it did not.
    #[error("QEMU has no machine type with the alias {MACHINE}")]
    NoMachineType,
    /// The memory's file does not have its digest.
    #[error("the template {} is damaged: its memory", .0.display())]
    Memory(PathBuf),
    /// Another process has been building it for too long.
    #[error("another process has been building the template for {} s", OTHERS_BUILD.as_secs())]
    Others,
    /// Something of this host's.
    #[error("making a template")]
    Io(#[from] io::Error),
}

impl From<StartError> for TemplateError {
    fn from(error: StartError) -> Self {
        Self::Boot(error.into())
    }
}

impl TemplateError {
    /// Whether the user should hear of it: something is wrong on this host.
    fn is_worth_a_word(&self) -> bool {
        match self {
            Self::Store(error) => !matches!(error, StoreError::Unusable { .. }),
            Self::Memory(_) | Self::Others | Self::Io(_) => true,
            _ => false,
        }
    }
}

/// A machine that was saved: from the store, or just made.
#[derive(Debug)]
pub enum Template {
    /// From the store. While this is held, it stays there.
    Stored(Box<Stored>),
    /// Made by this process, in memory.
    Made(Made),
}

/// A machine that this process has saved.
#[derive(Debug)]
pub struct Made {
    /// Sealed.
    memory: File,
    state: Vec<u8>,
    machine: String,
    qemu: (u64, u64, u64),
}

impl Template {
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

/// An appliance with disks, and the template that it was restored from.
#[derive(Debug)]
pub struct Started {
    /// The appliance.
    pub appliance: Appliance,
    /// Held while the appliance runs, so that it is not removed. None where it was booted.
    pub template: Option<Template>,
}

/// Starts an appliance with `disks`, all that are among `drives`: restored from its template,
/// which is built first where there is none; booted where that cannot be. The store may take
/// `most` bytes. Clock and random numbers of the guest are the template's: both are to be set
/// before anything else is done.
///
/// # Errors
/// See [`BootError`]: of booting, at last.
pub async fn start(
    settings: &Settings,
    most: u64,
    drives: &Drives,
    disks: Vec<Disk>,
    max_write: Option<u64>,
) -> Result<Started, BootError> {
    match restored(settings, most, drives, &disks, max_write).await {
        Ok(started) => return Ok(started),
        Err(error) => {
            let error = anyhow::Error::from(error);
            match error
                .downcast_ref()
                .is_some_and(TemplateError::is_worth_a_word)
            {
                true => tracing::warn!("{error:#}; the appliance is booted"),
                false => tracing::debug!("{error:#}; the appliance is booted"),
            }
        }
    }
    let appliance = boot::boot(settings, drives, disks, max_write).await?;
    Ok(Started {
        appliance,
        template: None,
    })
}

async fn restored(
    settings: &Settings,
    most: u64,
    drives: &Drives,
    disks: &[Disk],
    max_write: Option<u64>,
) -> Result<Started, TemplateError> {
    let store = Store::open()?;
    let key = Key::of_appliance(settings, disks.len())?;
    let template = get(settings, &store, &key, disks.len(), most).await?;
    match restore(settings, &template, drives, disks.to_vec(), max_write).await {
        Ok(appliance) => Ok(Started {
            appliance,
            template: Some(template),
        }),
        Err(error) => {
            if let Template::Stored(stored) = template {
                match &error {
                    TemplateError::Saving(why) => store.mark_unusable(&stored, &why.to_string()),
                    TemplateError::Agent(why) => store.mark_unusable(&stored, &why.to_string()),
                    TemplateError::Memory(_) => {
                        drop(stored);
                        // Else the next one finds it damaged again.
                        let _ = store.remove(&key.name());
                    }
                    _ => {}
                }
            }
            Err(error)
        }
    }
}

/// The template of the appliance with `disks` disks: from the store, else built. Where another
/// process builds it, that is waited for.
///
/// # Errors
/// It cannot be had.
pub async fn get(
    settings: &Settings,
    store: &Store,
    key: &Key,
    disks: usize,
    most: u64,
) -> Result<Template, TemplateError> {
    let deadline = Instant::now() + OTHERS_BUILD;
    loop {
        if let Some(stored) = found(store, key)? {
            return Ok(Template::Stored(stored.into()));
        }
        match store.begin(key)? {
            Turn::Ours(building) => {
                // It may have been published between the two looks.
                if let Some(stored) = found(store, key)? {
                    return Ok(Template::Stored(stored.into()));
                }
                let made = match build(settings, disks).await {
                    Ok(made) => made,
                    Err(error) => {
                        if let TemplateError::Saving(_) | TemplateError::NoMachineType = &error {
                            building.give_up(&error.to_string())?;
                        }
                        return Err(error);
                    }
                };
                keep(store, building, key, &made, most);
                return Ok(Template::Made(made));
            }
            Turn::Others if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
            Turn::Others => return Err(TemplateError::Others),
        }
    }
}

/// What the store has. One that is damaged is said, and built again.
fn found(store: &Store, key: &Key) -> Result<Option<Stored>, StoreError> {
    match store.find(key) {
        Err(error @ (StoreError::Damaged { .. } | StoreError::Io { .. })) => {
            tracing::warn!("{:#}; it is made again", anyhow::Error::from(error));
            Ok(None)
        }
        found => found,
    }
}

/// Boots an appliance with vacant disks, and saves it.
async fn build(settings: &Settings, disks: usize) -> Result<Made, TemplateError> {
    let from = appliance::make(&settings.kernel).map_err(BootError::from)?;
    let memory = memory::new(settings.memory_mib)?;
    let channels = Channels::new(true)?;
    let ends = Ends::of(&channels).with_kernel(&from.kernel, &from.initramfs);
    let plan = Plan {
        saving: Some(Saving {
            memory: ChildFd(memory.as_raw_fd()),
            use_of_memory: UseOfMemory::Shared,
            vacant_disks: disks,
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
    tokio::time::sleep(SETTLE).await;
    let versioned = machine.type_of_alias(MACHINE).await?;
    let state = machine.save().await?;
    let qemu = machine.version().numbers;
    machine.stop(Duration::ZERO).await?;
    drop(session);
    memory::seal(&memory)?;
    Ok(Made {
        memory,
        state,
        machine: versioned.ok_or(TemplateError::NoMachineType)?,
        qemu,
    })
}

/// Publishes it. That this cannot be is no reason not to use it.
fn keep(store: &Store, building: Building, key: &Key, made: &Made, most: u64) {
    let saved = Saved {
        memory: &made.memory,
        state: &made.state,
        machine: &made.machine,
        qemu: made.qemu,
    };
    let kept = (saved.bytes().map_err(TemplateError::from)).and_then(|bytes| {
        if bytes > most {
            let (bytes, most) = (bytes >> 20, most >> 20);
            tracing::warn!(
                "the template is not kept: it takes {bytes} MiB, and {most} MiB are allowed \
                 (BIVOUAC_TEMPLATES_MAX)"
            );
            return Ok(());
        }
        building.publish(key, &saved)?;
        Ok(store.shrink(most)?)
    });
    if let Err(error) = kept {
        let error = anyhow::Error::from(error);
        tracing::warn!("the template is not kept: {error:#}");
    }
}

/// Restores an appliance with `disks` in place of its vacant ones.
async fn restore(
    settings: &Settings,
    template: &Template,
    drives: &Drives,
    disks: Vec<Disk>,
    max_write: Option<u64>,
) -> Result<Appliance, TemplateError> {
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
    let mut machine = Machine::start(plan.qemu.clone(), &argv(&plan), holdings).await?;
    drives.check_headers()?;
    machine.restore(template.state()).await?;
    if let (Some(digest), Template::Stored(stored)) = (digest, template) {
        // Its thread ends with an answer.
        let digest = digest.await.map_err(io::Error::other)??;
        if digest != stored.manifest.memory_digest {
            return Err(TemplateError::Memory(stored.path.clone()));
        }
    }
    machine.cont().await?;
    for (index, bytes) in drives.disk_sizes().iter().enumerate() {
        machine.grow_disk(index, *bytes).await?;
    }
    let session = boot::greet(&mut machine, AWAKE).await?;
    Ok(Appliance { machine, session })
}

/// Nobody types at an appliance or reads its console, but for the last lines.
fn holdings<'a>(
    channels: Channels,
    files: Vec<std::os::fd::BorrowedFd<'a>>,
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

/// The digest of a file, made by a thread of its own while QEMU starts.
fn digest(file: File) -> io::Result<oneshot::Receiver<io::Result<String>>> {
    let (send, receive) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        // Nobody waits for it any more where the restore has failed.
        let _ = send.send(memory::digest(&file));
    })?;
    Ok(receive)
}
