//! Builds a template. Whoever has the right to build it holds a lock; the template's files are written
//! into a hidden directory once there is something to write, and nothing uses it before it is
//! renamed.

use std::fs::File;
use std::io::{self, Write};

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
use crate::template::store::owned_dir::OwnedDir;

/// The exclusive right to build a template. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Builder {
    store: Store,
    name: String,
    hidden: String,
    _lock: File,
}

impl Store {
    /// Starts to build the template of `key`. None if another process does. Removes what builders
    /// left that were killed.
    pub fn begin(&self, key: &Key) -> Result<Option<Builder>, StoreError> {
        let name = key.name();
        let directory = self.directory();
        self.open
            .templates
            .check_writable()
            .map_err(failed("writing to", directory))?;
        let Some(lock) = self
            .lock_to_build(&name)
            .map_err(failed("locking", directory))?
        else {
            return Ok(None);
        };
        let builder = Builder {
            store: self.clone(),
            hidden: format!("{NEW}{name}"),
            name,
            _lock: lock,
        };
        builder.remove();
        self.sweep();
        Ok(Some(builder))
    }

    /// The right to build the template of this name, unless another process has it.
    pub(super) fn lock_to_build(&self, name: &str) -> io::Result<Option<File>> {
        // Beside the templates, and always there: a builder that is killed leaves nothing.
        let file = self.open.above.open_or_create(&self.open.lock)?;
        Ok(locks::to_build(&file, name)?.then_some(file))
    }
}

impl Builder {
    /// Writes the template and renames it to its final name, replacing a damaged one. An error
    /// leaves nothing behind.
    pub fn publish(self, key: &Key, snapshot: &Snapshot) -> Result<(), StoreError> {
        let template = self.make()?;
        // A QEMU that root starts is another user's, and opens it; no user can enter the store.
        let memory = self.copy(&template, MEMORY, 0o444, &snapshot.memory)?;
        self.write(&template, STATE, &snapshot.state)?;
        let overlays = snapshot.overlays.iter().enumerate();
        let overlays =
            overlays.map(|(index, from)| self.copy(&template, &overlay_name(index), 0o400, from));
        let manifest = Manifest {
            key: key.clone(),
            machine: snapshot.machine.clone(),
            qemu: snapshot.qemu,
            memory: memory.identity,
            memory_digest: memory.digest,
            state_digest: digest::of(&snapshot.state),
            devices_only: snapshot.devices_only,
            overlays: overlays.collect::<Result<_, _>>()?,
        };
        let text = manifest.to_text();
        self.write(&template, MANIFEST, text.as_bytes())?;
        // The digests are of what was just written.
        verified::write(&template, &text);
        self.give_name()
    }

    /// The hidden directory, with the file that users of the template will lock.
    fn make(&self) -> Result<OwnedDir, StoreError> {
        let path = self.store.path(&self.hidden);
        let made = self.store.open.templates.make_dir(&self.hidden);
        let template = made.map_err(failed("making", &path))?;
        self.write(&template, LOCK, &[])?;
        Ok(template)
    }

    fn write(&self, template: &OwnedDir, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.store.path(&self.hidden).join(name);
        let created = template.create(name, 0o600);
        let mut file = created.map_err(failed("making", &path))?;
        file.write_all(bytes).map_err(failed("writing", &path))
    }

    fn copy(
        &self,
        template: &OwnedDir,
        name: &str,
        mode: u32,
        from: &File,
    ) -> Result<OverlayRecord, StoreError> {
        let path = self.store.path(&self.hidden).join(name);
        let to = template
            .create(name, mode)
            .map_err(failed("making", &path))?;
        let digest = memory::copy(from, &to).map_err(failed("writing", &path))?;
        let identity = FileStamp::of(&to).map_err(failed("writing", &path))?;
        Ok(OverlayRecord { identity, digest })
    }

    /// Records that such a machine cannot be saved here, so that not every start tries it.
    pub fn give_up(self, why: &str) -> Result<(), StoreError> {
        let template = self.make()?;
        self.write(&template, UNUSABLE, why.as_bytes())?;
        self.give_name()
    }

    fn give_name(self) -> Result<(), StoreError> {
        let templates = &self.store.open.templates;
        if templates.stat(&self.name).is_ok() && !self.store.remove(&self.name)? {
            // In use although it is damaged: the next one builds again.
            return Ok(());
        }
        let renamed = templates.rename(&self.hidden, &self.name);
        renamed.map_err(failed("publishing", &self.store.path(&self.name)))
    }

    /// Removes what was not published.
    fn remove(&self) {
        match self.store.open.templates.remove(&self.hidden) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!("{}: {error}", self.hidden);
            }
            _ => {}
        }
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        self.remove();
    }
}
