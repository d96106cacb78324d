//! An open directory of this user's, and what is in it by name: no link is followed, and no file is
//! taken that another user owns or that has another name elsewhere.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, mkdirat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::LOCK;

const STAY: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC);

/// Only this user, or root, can change what is in it.
#[derive(Debug)]
pub(super) struct OwnedDir(OwnedFd);

impl OwnedDir {
    /// The caller has checked that it is ours.
    pub(super) fn of_checked(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// Opens a directory in it.
    pub(super) fn dir(&self, name: &str) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | STAY;
        let directory = openat(&self.0, name, flags, Mode::empty())?;
        match fstat(&directory)?.st_uid == geteuid().as_raw() {
            true => Ok(Self(directory)),
            false => Err(Errno::EPERM.into()),
        }
    }

    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        self.open_as(name, OFlag::O_RDONLY)
    }

    /// Opens a file to lock it.
    pub(super) fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.open_as(name, OFlag::O_RDWR | OFlag::O_CREAT)
    }

    fn open_as(&self, name: &str, flags: OFlag) -> io::Result<File> {
        // A FIFO would be waited for.
        let flags = flags | STAY | OFlag::O_NONBLOCK;
        let file = openat(&self.0, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let found = fstat(&file)?;
        let is_regular = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
        match is_regular && found.st_uid == geteuid().as_raw() && found.st_nlink <= 1 {
            true => Ok(file.into()),
            false => Err(Errno::EPERM.into()),
        }
    }

    /// Creates a file with this mode, whatever the umask is.
    pub(super) fn create(&self, name: &str, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | STAY;
        let file = openat(&self.0, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        fchmod(&file, Mode::from_bits_truncate(mode))?;
        Ok(file.into())
    }

    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn read_text(&self, name: &str) -> io::Result<String> {
        String::from_utf8(self.read(name)?).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Writes a new file in the place of any that has the name.
    pub(super) fn replace(&self, name: &str, text: &str) -> io::Result<()> {
        let _ = unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir);
        self.create(name, 0o600)?.write_all(text.as_bytes())
    }

    pub(super) fn remove_file(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir)?)
    }

    pub(super) fn make_dir(&self, name: &str) -> io::Result<Self> {
        mkdirat(&self.0, name, Mode::S_IRWXU)?;
        self.dir(name)
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Removes a directory with the files in it.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let directory = self.dir(name)?;
        let mut names = directory.names()?;
        // A process that waits for the lock finds last that its file has no name.
        names.sort_by_key(|name| name == LOCK);
        for file in names {
            unlinkat(&directory.0, &*file, UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(unlinkat(&self.0, name, UnlinkatFlags::RemoveDir)?)
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | STAY;
        let entries = Dir::openat(&self.0, ".", flags, Mode::empty())?.into_iter();
        let names = entries.flatten().map(|entry| entry.file_name().to_owned());
        let names = names.filter_map(|name| name.into_string().ok());
        Ok(names.filter(|name| name != "." && name != "..").collect())
    }

    /// What is known of a name in it; the empty name is the directory itself.
    pub(super) fn stat(&self, name: &str) -> io::Result<FileStat> {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
        Ok(fstatat(&self.0, name, flags)?)
    }

    /// Fails if nothing can be created in it.
    pub(super) fn check_writable(&self) -> io::Result<()> {
        let mode = nix::unistd::AccessFlags::W_OK;
        Ok(nix::unistd::faccessat(
            &self.0,
            ".",
            mode,
            AtFlags::AT_EACCESS,
        )?)
    }

    /// Sets its time of change to now.
    pub(super) fn touch(&self) -> io::Result<()> {
        let (now, stay) = (TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink);
        Ok(utimensat(&self.0, ".", &now, &now, stay)?)
    }

    /// The bytes that the files in it take on their filesystem.
    pub(super) fn allocated(&self) -> u64 {
        let names = self.names().unwrap_or_default();
        let found = names.iter().filter_map(|name| self.stat(name).ok());
        found.map(|found| found.st_blocks.max(0) as u64 * 512).sum()
    }
}
