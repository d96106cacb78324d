//! The mark of a template whose digests were compared. To read all of a machine's memory at each
//! restore would take longer than the restore.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Stored;
use crate::template::digest;

/// The mark: which boot of this host that was in.
const WHOLE: &str = "whole";

impl Stored {
    /// Whether its digests were compared since this host was booted, or it was made since then.
    /// That nobody has written to its files since, their times tell; a disk that forgets is asked
    /// anew after each boot.
    pub fn is_known_as_whole(&self) -> bool {
        let marked = fs::read_to_string(self.path.join(WHOLE));
        marked.is_ok_and(|marked| Some(marked) == mark(&self.manifest.to_text()))
    }

    /// Its digests were compared.
    pub fn mark_whole(&self) {
        write(&self.path, &self.manifest.to_text());
    }
}

/// Marks the template at `directory` with this manifest. Without the mark it is only slower.
pub(super) fn write(directory: &Path, manifest: &str) {
    let place = directory.join(WHOLE);
    if let Some(mark) = mark(manifest)
        && let Err(error) = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&place)
            .and_then(|mut file| file.write_all(mark.as_bytes()))
    {
        tracing::debug!("{}: {error}", place.display());
    }
}

/// The kernel's name for the time since this host was booted, and what the manifest says.
fn mark(manifest: &str) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let said = digest::of(manifest.as_bytes());
    Some(format!("{boot}{said}\n"))
}
