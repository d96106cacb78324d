//! The mark of a template whose digests were compared. To read all of a machine's memory at each
//! restore would take longer than the restore.

use std::fs;

use super::Stored;
use crate::template::digest;

/// The mark: which boot of this host that was in.
const WHOLE: &str = "whole";

impl Stored {
    /// Whether its digests were compared since this host was booted. That nobody has written to
    /// its files since, their times tell; a disk that forgets is asked anew after each boot.
    pub fn is_known_as_whole(&self) -> bool {
        let marked = fs::read_to_string(self.path.join(WHOLE));
        marked.is_ok_and(|marked| Some(marked) == self.mark())
    }

    /// Its digests were compared.
    pub fn mark_whole(&self) {
        let place = self.path.join(WHOLE);
        if let Some(mark) = self.mark()
            && let Err(error) = fs::write(&place, mark)
        {
            tracing::debug!("{}: {error}", place.display());
        }
    }

    /// The kernel's name for the time since this host was booted, and what the manifest says.
    fn mark(&self) -> Option<String> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let said = digest::of(self.manifest.to_text().as_bytes());
        Some(format!("{boot}{said}\n"))
    }
}
