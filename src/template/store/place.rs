//! Opens the directory of templates, from the root down: none of the directories above it may be
//! one in which another user could put something else in its place.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::unistd::geteuid;

use super::owned_dir::OwnedDir;
use super::{StoreError, failed};

/// The most links that are followed one after the other (path_resolution(7)).
const LINKS: usize = 40;

pub(super) const REPLACEABLE: &str = "other users can replace what is in it";
pub(super) const ANOTHERS: &str = "it belongs to another user";
const NO_DIRECTORY: &str = "it is not a directory";
const READABLE: &str = "other users can access it, and it contains the memory of guests";

struct Walk {
    here: OwnedFd,
    path: PathBuf,
    /// The names that are still to be entered.
    names: VecDeque<OsString>,
}

/// The directory above that at the absolute `path`, and that at `path`. Creates what is missing.
pub(super) fn open_checked(path: &Path) -> Result<(OwnedDir, OwnedDir), StoreError> {
    let mut walk = Walk {
        here: root()?,
        path: "/".into(),
        names: names(path),
    };
    let mut links = 0;
    while let Some(name) = walk.names.pop_front() {
        let is_last = walk.names.is_empty();
        let path = walk.path.join(&name);
        let no_directory = || not_ours(&path, NO_DIRECTORY);
        let next = walk.enter(&name, &path)?;
        let found = fstat(&next).map_err(|errno| failed("opening", &path)(errno.into()))?;
        match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFLNK if !is_last && links < LINKS => {
                check_above(&found, &path)?;
                links += 1;
                let target = readlinkat(&next, c"");
                let target = target.map_err(|errno| failed("opening", &path)(errno.into()))?;
                walk.follow(Path::new(&target))?;
            }
            SFlag::S_IFDIR if is_last => {
                check_last(&found, &path)?;
                let [above, own] = [walk.here, next].map(OwnedDir::of_checked);
                return Ok((above, own));
            }
            SFlag::S_IFDIR => {
                check_above(&found, &path)?;
                (walk.here, walk.path) = (next, path);
            }
            _ => return Err(no_directory()),
        }
    }
    Err(not_ours(path, NO_DIRECTORY))
}

impl Walk {
    /// Opens what has this name here, a link itself, and creates a directory if nothing has it.
    fn enter(&self, name: &OsStr, path: &Path) -> Result<OwnedFd, StoreError> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || openat(&self.here, name, flags, Mode::empty());
        let opened = match open() {
            Err(Errno::ENOENT) => match mkdirat(&self.here, name, Mode::S_IRWXU) {
                // Another process was faster.
                Ok(()) | Err(Errno::EEXIST) => open(),
                Err(errno) => return Err(failed("making", path)(errno.into())),
            },
            opened => opened,
        };
        opened.map_err(|errno| failed("opening", path)(errno.into()))
    }

    /// Goes on where a link here leads.
    fn follow(&mut self, target: &Path) -> Result<(), StoreError> {
        if target.is_absolute() {
            (self.here, self.path) = (root()?, "/".into());
        }
        for name in names(target).into_iter().rev() {
            self.names.push_front(name);
        }
        Ok(())
    }
}

fn root() -> Result<OwnedFd, StoreError> {
    let path = Path::new("/");
    let at = |errno: Errno| failed("opening", path)(errno.into());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(path, flags, Mode::empty()).map_err(at)?;
    check_above(&fstat(&root).map_err(at)?, path)?;
    Ok(root)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        _ => None,
    });
    parts.collect()
}

fn not_ours(path: &Path, why: &'static str) -> StoreError {
    StoreError::NotOurs {
        path: path.to_owned(),
        why,
    }
}

/// A directory or a link above the store: of this user's or root's, and what is in it is replaced by
/// nobody else. With the sticky bit nobody replaces what we or root made there; that anything else
/// belongs to another user is seen when it is entered.
fn check_above(found: &FileStat, path: &Path) -> Result<(), StoreError> {
    let own = geteuid().as_raw();
    if found.st_uid != own && found.st_uid != 0 && Some(found.st_uid) != unmapped() {
        return Err(not_ours(path, ANOTHERS));
    }
    let mode = Mode::from_bits_truncate(found.st_mode);
    let is_link = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits();
    // A group of the same number is a user's own: many systems have each user in one alone.
    let own_group = own != 0 && found.st_uid == own && found.st_gid == own;
    let by_group = mode.contains(Mode::S_IWGRP) && !own_group;
    match mode.contains(Mode::S_IWOTH) || by_group {
        true if !is_link && !mode.contains(Mode::S_ISVTX) => Err(not_ours(path, REPLACEABLE)),
        _ => Ok(()),
    }
}

fn check_last(found: &FileStat, path: &Path) -> Result<(), StoreError> {
    if found.st_uid != geteuid().as_raw() {
        return Err(not_ours(path, ANOTHERS));
    }
    match found.st_mode & 0o077 {
        0 => Ok(()),
        _ => Err(not_ours(path, READABLE)),
    }
}

/// In a user namespace without all users: the number that those which it lacks have, the host's root
/// among them.
pub(super) fn unmapped() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    let lengths = map
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    let mapped: u64 = lengths
        .filter_map(|length| length.parse::<u64>().ok())
        .sum();
    let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?;
    match mapped < u64::from(u32::MAX) {
        true => overflow.trim().parse().ok(),
        false => None,
    }
}
