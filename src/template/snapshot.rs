//! A saved machine.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

#[derive(Debug)]
pub struct Snapshot {
    pub memory: File,
    /// The state of everything else.
    pub state: Vec<u8>,
    /// Whether the state was saved for a checkpoint.
    pub devices_only: bool,
    pub machine: String,
    /// QEMU's version: major, minor, micro.
    pub qemu: (u64, u64, u64),
    /// The overlays, which are no longer written to.
    pub overlays: Vec<File>,
}

impl Snapshot {
    /// How many bytes it takes on a filesystem.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        let mut bytes = self.state.len() as u64;
        for file in self.overlays.iter().chain([&self.memory]) {
            bytes += file.metadata()?.blocks() * 512;
        }
        Ok(bytes)
    }
}
