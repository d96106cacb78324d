//! Locks on templates (flock(2)). A lock counts only where its file still has that name after it
//! was acquired: a template may be renamed or removed while a process waits for it. And locks on the
//! right to build one, which leave no file of their own behind.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use nix::libc;

use super::LOCK;
use super::owned_dir::OwnedDir;

/// How often to try a template that is locked exclusively: a process checks whether it is in use.
/// Removing one may take longer.
const TRIES: u32 = 20;

pub(super) type Locked = (OwnedDir, Flock<File>);

/// A template with a shared lock on it. None if there is no template, or it is being removed.
pub(super) fn shared(store: &OwnedDir, name: &str) -> io::Result<Option<Locked>> {
    let open = || {
        let template = store.dir(name)?;
        template.open(LOCK).map(|file| (template, file))
    };
    for _ in 0..TRIES {
        let (template, file) = match open() {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match lock(file, FlockArg::LockSharedNonblock, store, name)? {
            Some(lock) => return Ok(Some((template, lock))),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(None)
}

/// A template or what is left of one, with an exclusive lock on it. None if another process has one.
pub(super) fn exclusive(store: &OwnedDir, name: &str) -> io::Result<Option<Locked>> {
    let template = store.dir(name)?;
    let file = template.open_or_create(LOCK)?;
    let lock = lock(file, FlockArg::LockExclusiveNonblock, store, name)?;
    Ok(lock.map(|lock| (template, lock)))
}

fn lock(
    file: File,
    kind: FlockArg,
    store: &OwnedDir,
    name: &str,
) -> io::Result<Option<Flock<File>>> {
    let lock = match Flock::lock(file, kind) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    let held = lock.metadata()?;
    match store.dir(name).and_then(|template| template.stat(LOCK)) {
        Ok(found) if (found.st_dev, found.st_ino) == (held.dev(), held.ino()) => Ok(Some(lock)),
        // Renamed or removed meanwhile.
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Locks the right to build the template of this name, as long as `file` is open: one byte of it
/// (fcntl_locking(2), open file description locks). Whether nobody else has it.
pub(super) fn to_build(file: &File, name: &str) -> io::Result<bool> {
    // Two names with the same beginning would only wait for each other.
    let place = name
        .get(..15)
        .and_then(|name| i64::from_str_radix(name, 16).ok());
    let byte = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: place.unwrap_or(0),
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&byte)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
