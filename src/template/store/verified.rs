//! Marks a template whose digests were verified: reading all of a machine's memory at each restore
//! would take longer than the restore itself.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Entry;
use crate::template::digest;

/// The mark names the boot of this host in which the digests were verified.
const VERIFIED: &str = "verified";

impl Entry {
    /// Whether its digests were verified, or it was made, since this host booted. File times show
    /// that it was not written to since; a failing disk is caught by the check after each boot.
    pub(crate) fn is_verified(&self) -> bool {
        let marked = fs::read_to_string(self.path.join(VERIFIED));
        marked.is_ok_and(|marked| Some(marked) == mark(&self.manifest.to_text()))
    }

    pub(crate) fn mark_verified(&self) {
        write(&self.path, &self.manifest.to_text());
    }
}

/// Marks the template at `directory`, which has this manifest. A missing mark only costs time.
pub(super) fn write(directory: &Path, manifest: &str) {
    let path = directory.join(VERIFIED);
    if let Some(mark) = mark(manifest)
        && let Err(error) = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(mark.as_bytes()))
    {
        tracing::debug!("{}: {error}", path.display());
    }
}

/// The kernel's id of this boot, and the digest of the manifest.
fn mark(manifest: &str) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let manifest = digest::of(manifest.as_bytes());
    Some(format!("{boot}{manifest}\n"))
}
