//! `bivouac kernel ls`: the kernels that were fetched, and which one the appliance uses.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::host::fetched_kernels::{self, FetchedKernel};
use crate::host::kernel;
use crate::launch::Failure;
use crate::text::escape::printable;

#[derive(Debug, Serialize)]
pub struct List {
    directory: PathBuf,
    kernels: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    version: String,
    image: PathBuf,
    modules: PathBuf,
    /// Of the files' contents.
    bytes: u64,
    /// Whether the appliance boots it now: another one of the host's may come first.
    used: bool,
}

impl List {
    pub(super) fn of(directory: &Path) -> Result<Self, Failure> {
        let used = kernel::find(None).ok();
        let entry = |fetched: FetchedKernel| Entry {
            used: used
                .as_ref()
                .is_some_and(|used| used.image == fetched.image()),
            image: fetched.image(),
            modules: fetched.modules(),
            bytes: bytes_below(&fetched.directory),
            version: fetched.release,
        };
        let kernels = fetched_kernels::list(directory).into_iter().map(entry);
        Ok(Self {
            directory: directory.to_owned(),
            kernels: kernels.collect(),
        })
    }
}

impl fmt::Display for List {
    /// A line each: version, size, and whether the appliance uses it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kernels.is_empty() {
            return writeln!(f, "no kernels in {}", self.directory.display());
        }
        for kernel in &self.kernels {
            let mib = kernel.bytes.div_ceil(1 << 20);
            let used = if kernel.used {
                "  used by the appliance"
            } else {
                ""
            };
            writeln!(f, "{}  {mib} MiB{used}", printable(&kernel.version))?;
        }
        Ok(())
    }
}

/// What cannot be read counts nothing.
fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}
