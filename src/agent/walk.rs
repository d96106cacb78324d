//! Walks a directory tree in constant memory: one open directory for each level, and no list of
//! all names unless they are to be sorted. Symbolic links are not followed, and each step opens one
//! name in an open directory, so a tree that changes meanwhile cannot lead out of it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::dir::{Dir, OwningIter, Type};
use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::{Mode, fstat};

use super::directory_read_ahead::DirectoryReadAhead;
use super::files;
use super::root::DIRECTORY;
use crate::protocol::{ByteString, Entry, ErrorStage, FileKind, RemoteError};

/// Limit on the depth. A directory below it is reported with an error.
const MAX_DEPTH: usize = 400;

/// How many other descriptors a process that walks may have: those of a batch of files, and of the directories
/// that these are in.
const OTHERS: u64 = 2 * super::gather::AT_ONCE as u64 + 50;

/// In which order the entries of a directory are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Any,
    /// By the bytes of their names, which are all read first.
    Sorted,
}

/// How many names of a directory are read at once if they need not be sorted: at most as many are in memory of each
/// directory on the way to the current one.
const AT_ONCE: usize = 1024;

/// What a directory tells of an entry.
pub(crate) struct Name {
    pub(crate) name: CString,
    /// If the filesystem has directories tell it.
    pub(crate) kind: Option<FileKind>,
    pub(crate) inode: u64,
}

struct Level {
    directory: Rc<OwnedFd>,
    unread: OwningIter,
    /// Those that were read.
    names: std::vec::IntoIter<Name>,
    /// Why no more could be read.
    failed: Option<Errno>,
    order: Order,
    /// The length of the directory's path.
    path: usize,
}

impl Level {
    fn new(directory: Rc<OwnedFd>, path: usize, order: Order) -> Result<Self, Errno> {
        let copy = nix::unistd::dup(&directory)?;
        Ok(Self {
            directory,
            unread: Dir::from_fd(copy)?.into_iter(),
            names: Vec::new().into_iter(),
            failed: None,
            order,
            path,
        })
    }

    /// The next name. With `read_ahead`, each directory is going to be listed.
    fn next(&mut self, read_ahead: Option<&DirectoryReadAhead>) -> Option<Result<Name, Errno>> {
        if self.names.len() == 0 && self.failed.is_none() {
            self.read_names(read_ahead);
        }
        let name = self.names.next().map(Ok);
        name.or_else(|| self.failed.take().map(Err))
    }

    fn read_names(&mut self, read_ahead: Option<&DirectoryReadAhead>) {
        let most = match self.order {
            Order::Any => AT_ONCE,
            Order::Sorted => usize::MAX,
        };
        let mut names = Vec::new();
        while names.len() < most {
            match next_name(&mut self.unread) {
                Some(Ok(name)) => names.push(name),
                // Each further attempt would fail as this one did, without end.
                Some(Err(errno)) => {
                    self.failed = Some(errno);
                    break;
                }
                None => break,
            }
        }
        if self.order == Order::Sorted {
            names.sort_by(|one: &Name, other| one.name.cmp(&other.name));
        }
        if let Some(read_ahead) = read_ahead {
            let is_directory = |name: &&Name| name.kind == Some(FileKind::Directory);
            let directories = names.iter().filter(is_directory);
            read_ahead.directories(&self.directory, directories.map(|name| &*name.name));
        }
        self.names = names.into_iter();
    }
}

fn next_name(names: &mut OwningIter) -> Option<Result<Name, Errno>> {
    names.find_map(|entry| match entry {
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
        entry => Some(entry.map(|entry| Name {
            name: entry.file_name().to_owned(),
            kind: entry.file_type().map(kind),
            inode: entry.ino(),
        })),
    })
}

fn kind(told: Type) -> FileKind {
    match told {
        Type::Fifo => FileKind::Fifo,
        Type::CharacterDevice => FileKind::Character,
        Type::Directory => FileKind::Directory,
        Type::BlockDevice => FileKind::Block,
        Type::File => FileKind::File,
        Type::Symlink => FileKind::Link,
        Type::Socket => FileKind::Socket,
    }
}

/// The entries of one directory, in any order.
pub(crate) struct OneDirectory(Level);

fn unlisted(errno: Errno) -> RemoteError {
    RemoteError::of(ErrorStage::File, "the directory", errno)
}

impl OneDirectory {
    pub(crate) fn new(directory: OwnedFd) -> Result<Self, RemoteError> {
        let level = Level::new(directory.into(), 0, Order::Any);
        level.map(Self).map_err(unlisted)
    }

    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.0.directory
    }

    /// The next name. With `read_ahead`, directories are going to be listed, too.
    pub(crate) fn next(
        &mut self,
        read_ahead: Option<&DirectoryReadAhead>,
    ) -> Option<Result<Name, RemoteError>> {
        Some(self.0.next(read_ahead)?.map_err(unlisted))
    }

    /// The entry of a name.
    pub(crate) fn entry(&self, name: &CStr) -> Entry {
        let path = ByteString(name.to_bytes().to_owned());
        files::entry(&self.0.directory, name, path)
    }
}

/// Calls `visit` for everything below a directory, parents first, with the directory that contains
/// it and the name. A directory that cannot be entered is visited a second time, with the error.
pub(crate) fn walk(
    top: Rc<OwnedFd>,
    one_file_system: bool,
    order: Order,
    read_ahead: &DirectoryReadAhead,
    mut visit: impl FnMut(&Rc<OwnedFd>, &CStr, Entry) -> Result<(), RemoteError>,
) -> Result<(), RemoteError> {
    let device = fstat(&top).map_err(unlisted)?.st_dev;
    let mut levels = vec![Level::new(top, 0, order).map_err(unlisted)?];
    let mut path: Vec<u8> = Vec::new();
    let max_depth = max_depth();
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else {
            return Ok(());
        };
        path.truncate(level.path);
        let name = match level.next(Some(read_ahead)) {
            None => {
                levels.pop();
                continue;
            }
            Some(Ok(name)) => name.name,
            // The rest of this directory cannot be read.
            Some(Err(errno)) => {
                let unread = Entry {
                    path: ByteString(path.clone()),
                    error: Some(RemoteError::of(ErrorStage::File, "reading", errno)),
                    ..Entry::default()
                };
                visit(&level.directory, c".", unread)?;
                levels.pop();
                continue;
            }
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let mut entry = files::entry(&level.directory, &name, ByteString(path.clone()));
        let below = entry.stat.as_ref().is_some_and(|stat| {
            stat.kind == FileKind::Directory && !(one_file_system && stat.device != device)
        });
        visit(&level.directory, &name, entry.clone())?;
        if !below {
            continue;
        }
        match enter(level, &name, (path.len(), order), depth, max_depth) {
            Ok(level) => levels.push(level),
            Err(errno) => {
                let Some(level) = levels.last() else { continue };
                entry.error = Some(RemoteError::of(ErrorStage::File, "entering", errno));
                visit(&level.directory, &name, entry)?;
            }
        }
    }
}

fn enter(
    level: &Level,
    name: &CStr,
    (path, order): (usize, Order),
    depth: usize,
    limit: usize,
) -> Result<Level, Errno> {
    if depth >= limit {
        return Err(Errno::ENAMETOOLONG);
    }
    let directory = openat(level.directory.as_fd(), name, DIRECTORY, Mode::empty())?;
    Level::new(directory.into(), path, order)
}

/// The depth for which there are descriptors, two a level. Raises the soft limit if necessary.
fn max_depth() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 100;
    };
    let wanted = hard.min(2 * MAX_DEPTH as u64 + OTHERS);
    // If this fails, opening a directory reports it.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    MAX_DEPTH.min(wanted.saturating_sub(OTHERS) as usize / 2)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn all_names_of_large_directories_are_visited_in_either_order() {
        let top = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for number in 0..2 * AT_ONCE + 1 {
            let name = format!("{number}");
            if number % 100 == 0 {
                fs::create_dir(top.path().join(&name)).unwrap();
                fs::write(top.path().join(&name).join("inside"), "").unwrap();
                expected.push(format!("{name}/inside"));
            } else {
                fs::write(top.path().join(&name), "").unwrap();
            }
            expected.push(name);
        }
        let visited = |order| {
            let mut paths = Vec::new();
            let read_ahead = DirectoryReadAhead::new(true);
            let top = OwnedFd::from(fs::File::open(top.path()).unwrap());
            let visit = |_: &_, _: &_, entry: Entry| {
                paths.push(String::from_utf8(entry.path.0).unwrap());
                Ok(())
            };
            walk(top.into(), false, order, &read_ahead, visit).unwrap();
            paths
        };
        let mut any = visited(Order::Any);
        any.sort();
        expected.sort();
        assert!(any == expected, "{} of {}", any.len(), expected.len());
        // By the bytes of the names, level by level.
        expected.sort_by(|one, other| one.split('/').cmp(other.split('/')));
        assert!(visited(Order::Sorted) == expected);
    }
}
