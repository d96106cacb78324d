//! Marks a template whose digests were verified: reading all of a machine's memory at each restore
//! would take longer than the restore itself.

use std::fs;

use super::Entry;
use super::owned_dir::OwnedDir;
use crate::template::digest;

/// The mark names the boot of this host in which the digests were verified.
const VERIFIED: &str = "verified";

impl Entry {
    /// Whether its digests were verified, or it was made, since this host booted. File times show
    /// that it was not written to since; a failing disk is caught by the check after each boot.
    pub(crate) fn is_verified(&self) -> bool {
        let marked = self.directory.read_text(VERIFIED);
        marked.is_ok_and(|marked| Some(marked) == mark(&self.manifest.to_text()))
    }

    pub(crate) fn mark_verified(&self) {
        write(&self.directory, &self.manifest.to_text());
    }
}

/// Marks a template, which has this manifest. A missing mark only costs time.
pub(super) fn write(template: &OwnedDir, manifest: &str) {
    if let Some(mark) = mark(manifest)
        && let Err(error) = template.replace(VERIFIED, &mark)
    {
        tracing::debug!("marking a template as verified: {error}");
    }
}

/// The kernel's id of this boot, and the digest of the manifest.
fn mark(manifest: &str) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let manifest = digest::of(manifest.as_bytes());
    Some(format!("{boot}{manifest}\n"))
}
