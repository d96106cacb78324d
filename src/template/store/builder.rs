//! Builds a template in a hidden directory that its builder locks exclusively; nothing uses it
//! before it is renamed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

use super::{
    LOCK, MANIFEST, MEMORY, NEW, STATE, Store, StoreError, UNUSABLE, failed, locks, overlay_name,
    verified,
};
use crate::linux::file_id::FileStamp;
use crate::template::digest;
use crate::template::key::Key;
use crate::template::manifest::{Manifest, OverlayRecord};
use crate::template::memory;
use crate::template::snapshot::Snapshot;

/// The exclusive right to build a template.
#[derive(Debug)]
pub enum BuildLock {
    /// This process has it.
    Acquired(Builder),
    /// Another process builds the template.
    Busy,
}

/// A template under construction. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Builder {
    store: Store,
    name: String,
    path: PathBuf,
    published: bool,
    _lock: Flock<File>,
}

impl Store {
    /// Starts to build the template of `key`, unless another process does. Removes what builders
    /// left that were killed.
    pub fn begin(&self, key: &Key) -> Result<BuildLock, StoreError> {
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
            // Published or removed meanwhile by the process that had it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BuildLock::Busy),
            Ok(None) => return Ok(BuildLock::Busy),
            Err(error) => return Err(failed("locking", &path)(error)),
        };
        let builder = Builder {
            store: self.clone(),
            name,
            path,
            published: false,
            _lock: lock,
        };
        remove_all_but_lock(&builder.path);
        self.sweep();
        Ok(BuildLock::Acquired(builder))
    }
}

impl Builder {
    /// Writes the template and renames it to its final name, replacing a damaged one. An error
    /// leaves nothing behind.
    pub fn publish(self, key: &Key, snapshot: &Snapshot) -> Result<(), StoreError> {
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
        let mode = match Manifest::takes_memory_read_only(snapshot.qemu) {
            true => 0o400,
            false => 0o600,
        };
        let (to, path) = file(MEMORY, mode)?;
        let memory_digest =
            memory::copy(&snapshot.memory, &to).map_err(failed("writing", &path))?;
        let identity = FileStamp::of(&to).map_err(failed("writing", &path))?;
        let (mut to, path) = file(STATE, 0o600)?;
        to.write_all(&snapshot.state)
            .map_err(failed("writing", &path))?;
        let mut overlays = Vec::new();
        for (index, overlay) in snapshot.overlays.iter().enumerate() {
            let (to, path) = file(&overlay_name(index), 0o400)?;
            let digest = memory::copy(overlay, &to).map_err(failed("writing", &path))?;
            let identity = FileStamp::of(&to).map_err(failed("writing", &path))?;
            overlays.push(OverlayRecord { identity, digest });
        }
        let manifest = Manifest {
            key: key.clone(),
            machine: snapshot.machine.clone(),
            qemu: snapshot.qemu,
            memory: identity,
            memory_digest,
            state_digest: digest::of(&snapshot.state),
            overlays,
        };
        let (mut to, path) = file(MANIFEST, 0o600)?;
        let text = manifest.to_text();
        to.write_all(text.as_bytes())
            .map_err(failed("writing", &path))?;
        // The digests are of what was just written.
        verified::write(&self.path, &text);
        self.give_name()
    }

    /// Records that such a machine cannot be saved here, so that not every start tries it.
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

impl Drop for Builder {
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
    // The lock last: a process that waits for it then finds that its file has no name.
    remove_all_but_lock(path);
    let _ = fs::remove_file(path.join(LOCK));
    if let Err(error) = fs::remove_dir(path) {
        tracing::debug!("{}: {error}", path.display());
    }
}
