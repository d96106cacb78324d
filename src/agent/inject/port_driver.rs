//! The driver of the agent's port as modules that go into an image with the agent, for the kernel of the
//! appliance; and loading them in the guest, if that runs the same kernel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::sys::utsname::uname;

use super::file_action::FileAction;

/// Below it a directory for each kernel, by its release.
const DIRECTORY: &str = "/etc/bivouac/modules";

/// Where the modules of the kernel that runs are.
fn directory() -> Option<PathBuf> {
    let system = uname().ok()?;
    Some(Path::new(DIRECTORY).join(system.release()))
}

/// Copies these modules of the kernel that runs, in load order, which their new names keep.
pub(crate) fn actions(files: &[PathBuf]) -> Vec<FileAction> {
    let Some(directory) = directory() else {
        return Vec::new();
    };
    let copies = (10..).zip(files).map(|(number, from)| FileAction::Copy {
        path: format!("{}/{number}.ko", directory.display()),
        from: from.clone(),
    });
    copies.collect()
}

/// Loads the modules that were injected for the kernel that runs. Those that are loaded or built in are
/// refused, and failures show in the missing port.
pub(crate) fn load() {
    let Some(entries) = directory().and_then(|directory| fs::read_dir(directory).ok()) else {
        return;
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if let Ok(file) = File::open(path) {
            let _ = finit_module(&file, c"", ModuleInitFlags::empty());
        }
    }
}
