//! Programs by their names, as a shell finds them.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The program `name` in PATH.
pub fn find(name: &Path) -> Option<PathBuf> {
    find_in(name, &env::var_os("PATH").unwrap_or_default())
}

/// The program `name` in the directories of `search_path`, which is like PATH.
pub fn find_in(name: &Path, search_path: &OsStr) -> Option<PathBuf> {
    let mut candidates = env::split_paths(search_path).map(|directory| directory.join(name));
    candidates.find(|candidate| is_program(candidate))
}

pub fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}
