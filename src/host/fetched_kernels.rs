//! Where `bivouac kernel fetch` puts kernels: a directory for each, named by its release, with `boot` and
//! `lib/modules` as in its package.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Root's, which all users find.
const OF_ROOT: &str = "var/lib/bivouac/kernels";

/// The directory that this user's go to: `$XDG_DATA_HOME/bivouac/kernels`, by default below
/// `~/.local/share`, root's in `/var/lib/bivouac`: root's home may be another user's (`sudo -E`).
/// `None` without a home.
pub fn own_directory() -> Option<PathBuf> {
    // A relative path is to be ignored (XDG Base Directory Specification).
    let absolute = |name: &str| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let is_root = nix::unistd::geteuid().is_root();
    let data = match absolute("XDG_DATA_HOME") {
        Some(data) => data,
        None if is_root => return Some(system_directory(Path::new("/"))),
        None => absolute("HOME")?.join(".local/share"),
    };
    Some(data.join("bivouac/kernels"))
}

/// Root's below another root directory.
pub(super) fn system_directory(root: &Path) -> PathBuf {
    root.join(OF_ROOT)
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedKernel {
    pub release: String,
    pub directory: PathBuf,
}

impl FetchedKernel {
    pub fn image(&self) -> PathBuf {
        self.directory
            .join(format!("boot/vmlinuz-{}", self.release))
    }

    pub fn modules(&self) -> PathBuf {
        self.directory.join("lib/modules").join(&self.release)
    }
}

/// Those in a directory, without what a fetch that was killed has left: names with a dot in front.
pub fn list(directory: &Path) -> Vec<FetchedKernel> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let fetched = entries.filter_map(|entry| {
        let release = entry.file_name().into_string().ok()?;
        let directory = entry.path();
        (!release.starts_with('.')).then_some(FetchedKernel { release, directory })
    });
    let mut fetched: Vec<_> = fetched.filter(|one| one.modules().is_dir()).collect();
    fetched.sort_by(|a, b| a.release.cmp(&b.release));
    fetched
}
