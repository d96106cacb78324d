//! Builds a template in a hidden directory that its builder locks exclusively; nothing uses it
//! before it is renamed.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
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

/// The exclusive right to build a template, and what was built so far. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Builder {
    store: Store,
    name: String,
    path: PathBuf,
    published: bool,
    _lock: Flock<File>,
}

impl Store {
    /// Starts to build the template of `key`. None if another process does. Removes what builders
    /// left that were killed.
    pub fn begin(&self, key: &Key) -> Result<Option<Builder>, StoreError> {
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
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(None) => return Ok(None),
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
        Ok(Some(builder))
    }
}

impl Builder {
    /// Writes the template and renames it to its final name, replacing a damaged one. An error
    /// leaves nothing behind.
    pub fn publish(self, key: &Key, snapshot: &Snapshot) -> Result<(), StoreError> {
        // A QEMU that root starts is another user's, and opens it; no user can enter the store.
        let memory = self.copy(MEMORY, 0o444, &snapshot.memory)?;
        self.write(STATE, &snapshot.state)?;
        let overlays = snapshot.overlays.iter().enumerate();
        let overlays = overlays.map(|(index, from)| self.copy(&overlay_name(index), 0o400, from));
        let manifest = Manifest {
            key: key.clone(),
            machine: snapshot.machine.clone(),
            qemu: snapshot.qemu,
            memory: memory.identity,
            memory_digest: memory.digest,
            state_digest: digest::of(&snapshot.state),
            overlays: overlays.collect::<Result<_, _>>()?,
        };
        let text = manifest.to_text();
        self.write(MANIFEST, text.as_bytes())?;
        // The digests are of what was just written.
        verified::write(&self.path, &text);
        self.give_name()
    }

    fn create(&self, name: &str, mode: u32) -> Result<(File, PathBuf), StoreError> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let file = options.open(&path).map_err(failed("making", &path))?;
        // Whatever the umask is.
        let permissions = Permissions::from_mode(mode);
        file.set_permissions(permissions)
            .map_err(failed("making", &path))?;
        Ok((file, path))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (mut file, path) = self.create(name, 0o600)?;
        file.write_all(bytes).map_err(failed("writing", &path))
    }

    fn copy(&self, name: &str, mode: u32, from: &File) -> Result<OverlayRecord, StoreError> {
        let (to, path) = self.create(name, mode)?;
        let digest = memory::copy(from, &to).map_err(failed("writing", &path))?;
        let identity = FileStamp::of(&to).map_err(failed("writing", &path))?;
        Ok(OverlayRecord { identity, digest })
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
