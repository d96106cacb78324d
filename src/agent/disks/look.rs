//! A filesystem that is mounted to be looked at. The one with the system on it stays mounted:
//! whoever mounts it next gets that very mount moved, which is a tenth of the work.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::modules::Modules;
use super::mount::{chain, filesystem, unmount};
use super::plan::Known;

/// Where candidates are mounted.
const PLACE: &str = "/run/bivouac-survey";

/// A mounted filesystem, until it is dropped.
pub struct Look {
    /// Where.
    pub place: PathBuf,
    kept: bool,
}

impl Look {
    /// Mounts a device, for reading: less is done then, and XFS tells the space as it is without
    /// what it sets aside for writers. A journal is replayed all the same. `name` tells several
    /// looks at one device apart.
    ///
    /// # Errors
    /// One sentence.
    pub fn at(
        device: &Known,
        options: &[String],
        name: &str,
        modules: &mut Modules,
    ) -> Result<Self, String> {
        let place = place_of(&device.device, name);
        remove(&place);
        fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        let options: Vec<_> = options.iter().cloned().chain(["ro".to_owned()]).collect();
        match filesystem(&device.device, device.kind, &options, &place, modules) {
            Ok(()) => Ok(Self { place, kept: false }),
            Err(error) => {
                let _ = fs::remove_dir(&place);
                Err(format!("{}: {}", device.device, chain(&error)))
            }
        }
    }

    /// Leaves it mounted, for [`take`].
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.place);
        }
    }
}

/// The name of a look that may be kept.
pub const ROOT: &str = "root";

/// Moves the kept mount of `device` to `target`, where there is one: it is for writing then,
/// unless `read_only`.
pub fn take(device: &str, target: &Path, read_only: bool) -> bool {
    let place = place_of(device, ROOT);
    if !place.exists() {
        return false;
    }
    let none = None::<&str>;
    let moved = mount(Some(&place), target, none, MsFlags::MS_MOVE, none);
    if moved.is_err() {
        remove(&place);
        return false;
    }
    let _ = fs::remove_dir(&place);
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RELATIME;
    if !read_only && mount(none, target, none, flags, none).is_err() {
        unmount(target);
        return false;
    }
    true
}

/// Takes the kept mount of `device` away: it is to be mounted in another way.
pub fn release(device: &str) {
    remove(&place_of(device, ROOT));
}

/// Takes every kept mount away.
pub fn release_all() {
    for entry in fs::read_dir(PLACE).into_iter().flatten().flatten() {
        remove(&entry.path());
    }
}

fn place_of(device: &str, name: &str) -> PathBuf {
    Path::new(PLACE).join(format!("{name}{}", device.replace('/', "!")))
}

fn remove(place: &Path) {
    if place.exists() {
        unmount(place);
        let _ = fs::remove_dir(place);
    }
}
