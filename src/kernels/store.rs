//! The directory of fetched kernels. Whoever changes it holds its lock; a kernel is made in `.new` and
//! renamed when it is complete, so that nothing that was killed on its way is ever used.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};

use crate::host::fetched_kernels;
use crate::launch::{Failure, Progress};

const LOCK: &str = ".lock";
const NEW: &str = ".new";

#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    _lock: Flock<File>,
}

pub(crate) fn own_directory() -> Result<PathBuf, Failure> {
    fetched_kernels::own_directory().ok_or_else(|| {
        let error = anyhow::anyhow!("there is no directory for kernels: HOME is not set");
        Failure::with_hint(error, "set XDG_DATA_HOME")
    })
}

impl Store {
    /// Locks the user's directory, which is created if it is missing, and removes what is left in it
    /// of a fetch that was killed. Waits for another process that has the lock.
    pub(crate) fn open(progress: &dyn Progress) -> Result<Self, Failure> {
        let directory = own_directory()?;
        let failed = || format!("using {} for kernels", directory.display());
        fs::create_dir_all(&directory)
            .and_then(|()| File::create(directory.join(LOCK)))
            .with_context(failed)
            .map_err(|error| {
                Failure::with_hint(error, "set XDG_DATA_HOME to a directory of your own")
            })
            .and_then(|file| {
                let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
                let lock = lock.or_else(|(file, _)| {
                    progress.status("waiting for another fetch of a kernel");
                    Flock::lock(file, FlockArg::LockExclusive)
                });
                progress.clear_status();
                let _lock = lock.map_err(|(_, errno)| errno).with_context(failed)?;
                remove_if_there(&directory.join(NEW)).with_context(failed)?;
                Ok(Self {
                    directory: directory.clone(),
                    _lock,
                })
            })
    }

    /// An empty directory for a new kernel, removed with all that is in it when it is dropped.
    pub(super) fn new_kernel(&self) -> Result<NewKernel<'_>, Failure> {
        let path = self.directory.join(NEW);
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(NewKernel { store: self, path })
    }

    pub(crate) fn releases(&self) -> Vec<String> {
        let all = fetched_kernels::list(&self.directory).into_iter();
        all.map(|one| one.release).collect()
    }

    /// Removes kernels, all of which must be there.
    pub(crate) fn remove(&self, releases: &[String]) -> Result<Vec<String>, Failure> {
        let there = self.releases();
        if let Some(unknown) = releases.iter().find(|release| !there.contains(release)) {
            let error = anyhow::anyhow!("no kernel {unknown} was fetched");
            return Err(Failure::with_hint(error, "`bivouac kernel ls` lists them"));
        }
        for release in releases {
            // First out of its place: a part of a kernel must not be used.
            let (from, to) = (self.directory.join(release), self.directory.join(NEW));
            let moved = fs::rename(&from, &to).and_then(|()| fs::remove_dir_all(&to));
            moved.with_context(|| format!("removing {}", from.display()))?;
        }
        let removed = releases.iter().map(|release| format!("removed {release}"));
        Ok(removed.collect())
    }
}

#[derive(Debug)]
pub(super) struct NewKernel<'a> {
    store: &'a Store,
    path: PathBuf,
}

impl NewKernel<'_> {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `tree`, a directory in it, in the place of the kernel of this release.
    pub(super) fn publish(self, tree: &Path, release: &str) -> Result<PathBuf, Failure> {
        let place = self.store.directory.join(release);
        let published = File::open(tree)
            // All of it before its name: a host may crash.
            .and_then(|opened| Ok(nix::unistd::syncfs(&opened)?))
            .and_then(|()| rename(tree, &place));
        published.with_context(|| format!("renaming {} to {}", tree.display(), place.display()))?;
        Ok(place)
    }
}

impl Drop for NewKernel<'_> {
    fn drop(&mut self) {
        if let Err(error) = remove_if_there(&self.path) {
            tracing::warn!("removing {}: {error}", self.path.display());
        }
    }
}

/// A directory that is there already is exchanged with the new one.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(_) if to.is_dir() => {
            let flags = RenameFlags::RENAME_EXCHANGE;
            Ok(renameat2(AT_FDCWD, from, AT_FDCWD, to, flags)?)
        }
        renamed => renamed,
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
