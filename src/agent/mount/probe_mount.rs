//! Temporary read-only mounts for inspecting filesystems. The mount with the operating system on
//! it is kept: the request that mounts it next moves that one, which takes a tenth of the time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::block_id::BlockId;
use super::filesystem::{MountError, filesystem, unmount};
use super::modules::Modules;
use crate::protocol::warning::{Warning, WarningCode};

const DIRECTORY: &str = "/run/bivouac-survey";

pub(crate) const ROOT: &str = "root";

/// A mounted filesystem, unmounted when dropped.
pub(crate) struct ProbeMount {
    pub(crate) path: PathBuf,
    kept: bool,
}

impl ProbeMount {
    /// Mounts a device read-only: that is faster, and XFS then reports its free space without what
    /// it reserves for writers. The journal is replayed all the same. `name` distinguishes several
    /// mounts of one device.
    pub(crate) fn new(
        device: &BlockId,
        options: &[String],
        name: &str,
        modules: &mut Modules,
    ) -> Result<Self, Warning> {
        let warning = |code, reason| Warning::new(code, &device.device, reason);
        let path = place(&device.device, name)
            .map_err(|error| warning(WarningCode::NotMounted, error.to_string()))?;
        let options: Vec<_> = options.iter().cloned().chain(["ro".to_owned()]).collect();
        match filesystem(&device.device, device.kind, &options, &path, modules) {
            Ok(()) => Ok(Self { path, kept: false }),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                let code = match error {
                    MountError::NoDriver(_) => WarningCode::Unsupported,
                    _ => WarningCode::NotMounted,
                };
                Err(warning(code, error.with_cause()))
            }
        }
    }

    /// Leaves it mounted, for [`acquire`].
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for ProbeMount {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.path);
        }
    }
}

/// Moves the kept mount of `device` to `target` and makes it read-write unless `read_only`.
/// Returns whether there was one and this succeeded.
pub(crate) fn acquire(device: &str, target: &Path, read_only: bool) -> bool {
    let path = path_of(device, ROOT);
    if !path.exists() {
        return false;
    }
    let none = None::<&str>;
    if mount(Some(&path), target, none, MsFlags::MS_MOVE, none).is_err() {
        remove(&path);
        return false;
    }
    let _ = fs::remove_dir(&path);
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RELATIME;
    if !read_only && mount(none, target, none, flags, none).is_err() {
        unmount(target);
        return false;
    }
    true
}

/// Unmounts the kept mount of `device`, which is to be mounted in another way.
pub(crate) fn release(device: &str) {
    remove(&path_of(device, ROOT));
}

pub(crate) fn release_all() {
    for entry in fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        remove(&entry.path());
    }
}

/// An empty directory to mount `device` on.
pub(crate) fn place(device: &str, name: &str) -> io::Result<PathBuf> {
    let path = path_of(device, name);
    remove(&path);
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn path_of(device: &str, name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{name}{}", device.replace('/', "!")))
}

fn remove(path: &Path) {
    if path.exists() {
        unmount(path);
        let _ = fs::remove_dir(path);
    }
}
