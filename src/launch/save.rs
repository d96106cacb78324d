//! Saves a running machine under a name in the store of templates. It goes on: its memory is copied as
//! for a checkpoint, in a short pause, and everything is written to the store after that.

use std::fs::File;
use std::io;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};
use tokio::sync::oneshot;

use super::facts::Facts;
use super::failure::Failure;
use super::image_template::base_key;
use super::keep::merge_over;
use super::live::{LiveVm, snapshot_of};
use super::prepare::{PreparedVm, prepare};
use super::spec::VmSpec;
use crate::image::chain::Chain;
use crate::linux::memfd;
use crate::machine::Machine;
use crate::machine::drives::Drives;
use crate::machine::overlay::Place;
use crate::machine::phases::Phases;
use crate::session::{Session, random};
use crate::template::key::Key;
use crate::template::snapshot::Snapshot;
use crate::template::store::NameRecord;
use crate::template::{Store, StoreError, TemplateError};

/// The name that a running machine gets, and what machine it is.
#[derive(Clone, Debug)]
pub struct SaveSpec {
    pub record: NameRecord,
    /// The machine that `record` has the options of, before it was saved.
    pub machine: VmSpec,
}

/// A thread that writes to the store. When it is no longer wanted it is waited for, so that the end of
/// this process leaves nothing half written.
struct Writing(Option<JoinHandle<()>>);

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

impl LiveVm {
    /// Saves the machine under a name. It goes on after a short pause, also after an error; it is of no
    /// use if this is dropped half way. Returns the name of the template.
    pub(crate) async fn save(&mut self, spec: &SaveSpec) -> Result<String, Failure> {
        let phases = Phases::default();
        let (machine, session) = (&mut self.running.machine, &self.running.session);
        let saved = save(machine, session, &mut self.vm, spec, &phases).await;
        self.phases = phases;
        saved
    }
}

/// [`LiveVm::save`] for a machine of `vm` and its session.
pub(crate) async fn save(
    machine: &mut Machine,
    session: &Session,
    vm: &mut PreparedVm,
    spec: &SaveSpec,
    phases: &Phases,
) -> Result<String, Failure> {
    let key = key_of(&spec.machine, &vm.drives)?;
    session.sync().await?;
    phases.mark("synced");
    let (_, snapshot) = snapshot_of(machine, session, vm, phases).await?;
    let (drives, _) = vm.drives.branch()?;
    let mut overlays = Vec::new();
    for (disk, overlay) in drives.overlays().iter().enumerate() {
        if let Some(chain) = drives.chain_of(disk) {
            let file = unnamed_file(&drives.place).context("making a file")?;
            let merging = merge_over(chain, overlay, chain.image().path(), &file);
            merging.await.context("merging the overlays of a disk")?;
            overlays.push(file);
        }
    }
    phases.mark("merged");
    let name = key.name();
    let snapshot = Snapshot {
        overlays,
        ..snapshot
    };
    publish(key, snapshot, spec.record.clone()).await?;
    phases.mark("saved");
    Ok(name)
}

/// The key of a machine that is restored as `spec` says, and whose images are those of `running`.
fn key_of(spec: &VmSpec, running: &Drives) -> Result<Key, Failure> {
    let fresh = prepare(spec, &mut Facts::default())?;
    let key = base_key(&fresh, spec)?;
    let images = |chains: &[Chain]| {
        let layers = chains
            .iter()
            .flat_map(|one| &one.layers()[one.overlays()..]);
        layers.map(|layer| layer.identity()).collect::<Vec<_>>()
    };
    if images(fresh.drives.chains()) != images(running.chains()) {
        let why = "an image was changed meanwhile".to_owned();
        return Err(TemplateError::Ineligible(why).into());
    }
    let number = random::<16>()?;
    Ok(Key {
        saved: Some(number.map(|byte| format!("{byte:02x}")).concat()),
        ..key
    })
}

fn unnamed_file(place: &Place) -> io::Result<File> {
    match place {
        Place::Directory(scratch) => scratch.unnamed_file(),
        Place::Memory => memfd::create(c"bivouac-saved"),
    }
}

/// Writes it to the store and names it, in a thread: it may be much, and the event loop waits for
/// nothing.
async fn publish(key: Key, snapshot: Snapshot, record: NameRecord) -> Result<(), Failure> {
    let (send, done) = oneshot::channel();
    let writing = std::thread::Builder::new().spawn(move || {
        // The receiver is gone if it is no longer wanted.
        let _ = send.send(write(&key, &snapshot, &record));
    });
    let _writing = Writing(Some(writing.context("starting a thread")?));
    let written = done.await.context("writing to the store")?;
    match written? {
        true => Ok(()),
        false => Err(anyhow!("another process has removed the machine meanwhile").into()),
    }
}

fn write(key: &Key, snapshot: &Snapshot, record: &NameRecord) -> Result<bool, StoreError> {
    let store = Store::open()?;
    match store.begin(key)? {
        Some(builder) => builder.publish(key, snapshot)?,
        // It has a number of its own, which no other process knows.
        None => return Ok(false),
    }
    store.set_name(key, record)
}
