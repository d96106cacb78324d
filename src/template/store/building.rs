//! A template under construction: a hidden directory that its builder holds alone, and that
//! nobody ever uses before it is renamed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

use super::{
    LOCK, MANIFEST, MEMORY, NEW, STATE, Store, StoreError, UNUSABLE, failed, locks, overlay_name,
    whole,
};
use crate::linux::file_id::FileStamp;
use crate::template::digest;
use crate::template::key::Key;
use crate::template::manifest::{Kept, Manifest};
use crate::template::memory;

/// Whose turn it is to build a template.
#[derive(Debug)]
pub enum Turn {
    /// Ours.
    Ours(Building),
    /// Another process builds it.
    Others,
}

/// A template under construction. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Building {
    store: Store,
    name: String,
    path: PathBuf,
    published: bool,
    _lock: Flock<File>,
}

/// A machine that was saved.
#[derive(Debug)]
pub struct Saved<'a> {
    /// Its memory.
    pub memory: &'a File,
    /// The state of everything else.
    pub state: &'a [u8],
    /// The machine type, with its version.
    pub machine: &'a str,
    /// QEMU's version.
    pub qemu: (u64, u64, u64),
    /// Its overlays, which nobody writes to any more.
    pub overlays: &'a [File],
}

impl Saved<'_> {
    /// How many bytes of a filesystem it takes.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub fn bytes(&self) -> io::Result<u64> {
        let mut bytes = self.state.len() as u64;
        for file in self.overlays.iter().chain([self.memory]) {
            bytes += file.metadata()?.blocks() * 512;
        }
        Ok(bytes)
    }
}

impl Store {
    /// Begins to build the template of `key`, unless another process is at it. What others left
    /// that were killed is removed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn begin(&self, key: &Key) -> Result<Turn, StoreError> {
        let name = key.name();
        let path = self.directory.join(format!("{NEW}{name}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("making", &path)(error));
            }
            _ => {}
        }
        let lock = match locks::exclusive(&path) {
            Ok(Some(lock)) => lock,
            // Published or removed meanwhile by whoever had it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Turn::Others),
            Ok(None) => return Ok(Turn::Others),
            Err(error) => return Err(failed("locking", &path)(error)),
        };
        let building = Building {
            store: self.clone(),
            name,
            path,
            published: false,
            _lock: lock,
        };
        building.clear();
        self.sweep();
        Ok(Turn::Ours(building))
    }
}

impl Building {
    /// Takes away what a builder that was killed left.
    fn clear(&self) {
        remove_all_but_lock(&self.path);
    }

    /// Writes the template and gives it its name. One of that name that is damaged makes room.
    ///
    /// # Errors
    /// The store is full, or cannot be written. Nothing is left then.
    pub fn publish(self, key: &Key, saved: &Saved<'_>) -> Result<(), StoreError> {
        let file = |name: &str, mode| {
            let path = self.path.join(name);
            let opened = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path);
            let file = opened.map_err(failed("making", &path))?;
            Ok::<_, StoreError>((file, path))
        };
        // Before 8.2 QEMU opens it for writing, though it writes nothing.
        let mode = match Manifest::takes_memory_read_only(saved.qemu) {
            true => 0o400,
            false => 0o600,
        };
        let (to, path) = file(MEMORY, mode)?;
        let memory_digest = memory::copy(saved.memory, &to).map_err(failed("writing", &path))?;
        let identity = FileStamp::of(&to).map_err(failed("writing", &path))?;
        let (mut to, path) = file(STATE, 0o600)?;
        to.write_all(saved.state)
            .map_err(failed("writing", &path))?;
        let mut overlays = Vec::new();
        for (index, overlay) in saved.overlays.iter().enumerate() {
            let (to, path) = file(&overlay_name(index), 0o400)?;
            let digest = memory::copy(overlay, &to).map_err(failed("writing", &path))?;
            let identity = FileStamp::of(&to).map_err(failed("writing", &path))?;
            overlays.push(Kept { identity, digest });
        }
        let manifest = Manifest {
            key: key.clone(),
            machine: saved.machine.to_owned(),
            qemu: saved.qemu,
            memory: identity,
            memory_digest,
            state_digest: digest::of(saved.state),
            overlays,
        };
        let (mut to, path) = file(MANIFEST, 0o600)?;
        let text = manifest.to_text();
        to.write_all(text.as_bytes())
            .map_err(failed("writing", &path))?;
        // The digests are of what was just written.
        whole::write(&self.path, &text);
        self.give_name()
    }

    /// Leaves a mark that such a machine cannot be saved here, so that not each start tries.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn give_up(self, why: &str) -> Result<(), StoreError> {
        let path = self.path.join(UNUSABLE);
        fs::write(&path, why).map_err(failed("writing", &path))?;
        self.give_name()
    }

    fn give_name(mut self) -> Result<(), StoreError> {
        let target = self.store.directory.join(&self.name);
        if target.exists() && !self.store.remove(&self.name)? {
            // In use although it is damaged: the next one builds again.
            return Ok(());
        }
        fs::rename(&self.path, &target).map_err(failed("publishing", &target))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if !self.published {
            remove(&self.path);
        }
    }
}

fn remove_all_but_lock(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_name() != LOCK {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn remove(path: &Path) {
    // The lock last: whoever waits for it then finds that its file has no name.
    remove_all_but_lock(path);
    let _ = fs::remove_file(path.join(LOCK));
    if let Err(error) = fs::remove_dir(path) {
        tracing::debug!("{}: {error}", path.display());
    }
}
