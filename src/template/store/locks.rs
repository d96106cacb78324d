//! Locks on templates (flock(2)). A lock counts only where its file still has that name after it
//! was acquired: a template may be renamed or removed while a process waits for it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::LOCK;

/// How often to try a template that is locked exclusively: its builder is publishing it, or a
/// process checks whether it is in use. Removing one may take longer.
const TRIES: u32 = 20;

/// A shared lock on a template. None if there is no template, or it is being removed.
pub(super) fn shared(template: &Path) -> io::Result<Option<Flock<File>>> {
    let path = template.join(LOCK);
    for _ in 0..TRIES {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match lock(file, FlockArg::LockSharedNonblock, &path)? {
            Some(lock) => return Ok(Some(lock)),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(None)
}

/// An exclusive lock on a template or what is left of one. None if another process has one.
pub(super) fn exclusive(template: &Path) -> io::Result<Option<Flock<File>>> {
    let path = template.join(LOCK);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)?;
    lock(file, FlockArg::LockExclusiveNonblock, &path)
}

fn lock(file: File, kind: FlockArg, path: &Path) -> io::Result<Option<Flock<File>>> {
    let lock = match Flock::lock(file, kind) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    let held = lock.metadata()?;
    match fs::metadata(path) {
        Ok(found) if (found.dev(), found.ino()) == (held.dev(), held.ino()) => Ok(Some(lock)),
        // Renamed or removed meanwhile.
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
