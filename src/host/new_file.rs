//! A file that gets its name when it is complete: until then it has none, and a process that is killed
//! leaves nothing. Where the filesystem lacks O_TMPFILE it has a hidden name beside it instead.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, open, openat, renameat, renameat2};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use crate::linux::file_id::FileId;
use crate::linux::proc_fd;

/// For the owner alone: a guest's disk holds secrets.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    directory: OwnedFd,
    name: CString,
    file: File,
    /// Its hidden name, as long as it has one.
    hidden: Option<CString>,
    replaces: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum NewFileError {
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} does not end in the name of a file", .0.display())]
    NoName(PathBuf),
    #[error("creating {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl NewFile {
    /// An empty file that will be `path`, open for reading and writing. With `replaces`, a regular file
    /// of that name is replaced in the end, and otherwise refused.
    pub fn create(path: &Path, replaces: bool) -> Result<Self, NewFileError> {
        let failed = |source: io::Error| NewFileError::Io {
            path: path.to_owned(),
            source,
        };
        let ends_in_slash = path.as_os_str().as_bytes().ends_with(b"/");
        let name = path.file_name().filter(|_| !ends_in_slash);
        let name = name.and_then(|name| CString::new(name.as_bytes()).ok());
        let name = name.ok_or_else(|| NewFileError::NoName(path.to_owned()))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = open(directory_of(path), flags, Mode::empty());
        let directory = opened.map_err(|errno| failed(errno.into()))?;
        match fstatat(&directory, &*name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(failed(errno.into())),
            Ok(stat) if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() => {
                return Err(NewFileError::NotAFile(path.to_owned()));
            }
            Ok(_) if !replaces => return Err(NewFileError::Exists(path.to_owned())),
            Ok(_) => {}
        }
        let (file, hidden) = create_in(&directory).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            directory,
            name,
            file,
            hidden,
            replaces,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file that has the name now, if there is one.
    pub fn present(&self) -> Option<FileId> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = openat(&self.directory, &*self.name, flags, Mode::empty()).ok()?;
        Some(FileId::from(&File::from(found).metadata().ok()?))
    }

    /// Writes it to the disk and gives it its name.
    pub fn publish(mut self) -> Result<(), NewFileError> {
        self.file
            .sync_all()
            .and_then(|()| Ok(self.give_name()?))
            .map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => NewFileError::Exists(self.path.clone()),
                _ => NewFileError::Io {
                    path: self.path.clone(),
                    source,
                },
            })
    }

    fn give_name(&mut self) -> nix::Result<()> {
        let directory = &self.directory;
        if self.hidden.is_none() {
            let unnamed = proc_fd::c_path(&self.file);
            let link = |name: &CString| {
                let follow = AtFlags::AT_SYMLINK_FOLLOW;
                linkat(AT_FDCWD, &*unnamed, directory, &**name, follow)
            };
            if !self.replaces {
                return link(&self.name);
            }
            let hidden = hidden_name(0);
            link(&hidden)?;
            self.hidden = Some(hidden);
        }
        let Some(hidden) = self.hidden.take() else {
            return Ok(());
        };
        let (from, to) = (&*hidden, &*self.name);
        let renamed = match self.replaces {
            true => renameat(directory, from, directory, to),
            false => {
                let flags = RenameFlags::RENAME_NOREPLACE;
                match renameat2(directory, from, directory, to, flags) {
                    // The filesystem has no such rename; a link never replaces anything.
                    Err(Errno::EINVAL | Errno::ENOSYS) => {
                        let linked = linkat(directory, from, directory, to, AtFlags::empty());
                        self.hidden = Some(hidden);
                        return linked;
                    }
                    renamed => renamed,
                }
            }
        };
        self.hidden = renamed.is_err().then_some(hidden);
        renamed
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            let _ = unlinkat(&self.directory, &**hidden, UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// The directory that the file at `path` is in.
pub fn directory_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != OsStr::new(""));
    parent.unwrap_or(Path::new("."))
}

fn create_in(directory: &OwnedFd) -> io::Result<(File, Option<CString>)> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    match openat(directory, ".", flags | OFlag::O_TMPFILE, MODE) {
        Ok(file) => return Ok((file.into(), None)),
        // ISDIR and NOENT: kernels and filesystems that take the flag for O_DIRECTORY.
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    for number in 0..100 {
        let hidden = hidden_name(number);
        match openat(directory, &*hidden, flags, MODE) {
            Ok(file) => return Ok((file.into(), Some(hidden))),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EEXIST.into())
}

/// A name that no other process takes.
fn hidden_name(number: u32) -> CString {
    let process = std::process::id();
    CString::new(format!(".bivouac-{process}-{number}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn it_has_no_name_until_it_is_complete() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("new");
        let new = NewFile::create(&path, false).unwrap();
        new.file().write_all(b"text").unwrap();
        assert!(names(scratch.path()).is_empty());
        new.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
        drop(NewFile::create(&scratch.path().join("other"), false).unwrap());
        assert_eq!(names(scratch.path()), ["new"]);
    }

    #[test]
    fn another_file_is_replaced_only_on_request() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("new");
        let late = NewFile::create(&path, false).unwrap();
        fs::write(&path, "old").unwrap();
        let exists = |error| matches!(error, NewFileError::Exists(_));
        assert!(exists(NewFile::create(&path, false).unwrap_err()));
        assert!(exists(late.publish().unwrap_err()));
        let new = NewFile::create(&path, true).unwrap();
        assert!(new.present().is_some());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        new.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(names(scratch.path()), ["new"]);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let create = |path: &Path| NewFile::create(path, true).unwrap_err();
        assert!(matches!(create(scratch.path()), NewFileError::NotAFile(_)));
        let slash = scratch.path().join("new/");
        assert!(matches!(create(&slash), NewFileError::NoName(_)));
        let below = scratch.path().join("missing/new");
        assert!(matches!(create(&below), NewFileError::Io { .. }));
    }

    #[test]
    fn a_hidden_name_goes_with_the_file_and_makes_room_for_the_final_one() {
        let scratch = tempfile::tempdir().unwrap();
        let hide = |replaces| {
            let mut new = NewFile::create(&scratch.path().join("new"), replaces).unwrap();
            let hidden = hidden_name(7);
            let path = scratch.path().join(hidden.to_str().unwrap());
            new.file = File::create(path).unwrap();
            new.hidden = Some(hidden);
            new
        };
        drop(hide(false));
        assert!(names(scratch.path()).is_empty());
        hide(false).publish().unwrap();
        assert_eq!(names(scratch.path()), ["new"]);
        hide(true).publish().unwrap();
        assert_eq!(names(scratch.path()), ["new"]);
    }
}
