//! The metadata of one file: stat(2), readlink(2) and statvfs(3).

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, fstat, fstatat, major, minor};
use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::fstatvfs;

use super::root::{failed, open_at};
use crate::protocol::{
    ByteString, Entry, ErrorStage, FileKind, FileSystem, PathAt, RemoteError, Response, Stat,
};

/// stat(2), or lstat(2) unless `follow`.
pub(crate) fn stat(at: &PathAt, follow: bool) -> Result<Response, RemoteError> {
    let mut flags = OFlag::O_PATH;
    flags.set(OFlag::O_NOFOLLOW, !follow);
    stat_of(open_at(at, flags)?, at).map(Response::Stat)
}

pub(crate) fn read_link(at: &PathAt) -> Result<Response, RemoteError> {
    let file = open_at(at, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    // For a file that is not a link readlinkat(2) fails with ENOENT here, readlink(2) with EINVAL.
    readlinkat(&file, "")
        .map(|target| Response::Link(target.into()))
        .map_err(|errno| match errno {
            Errno::ENOENT => failed(at, Errno::EINVAL),
            errno => failed(at, errno),
        })
}

pub(crate) fn stat_fs(at: &PathAt) -> Result<Response, RemoteError> {
    let file = open_at(at, OFlag::O_PATH)?;
    let found = fstatvfs(&file).map_err(|errno| failed(at, errno))?;
    let kind = fstatfs(&file).map_err(|errno| failed(at, errno))?;
    Ok(Response::FileSystem(FileSystem {
        block_size: found.fragment_size(),
        blocks: found.blocks(),
        free: found.blocks_free(),
        available: found.blocks_available(),
        inodes: found.files(),
        inodes_free: found.files_free(),
        magic: kind.filesystem_type().0 as u64,
    }))
}

pub(crate) fn stat_of(file: impl AsFd, at: &PathAt) -> Result<Stat, RemoteError> {
    fstat(file)
        .map(|stat| from_system(&stat))
        .map_err(|errno| failed(at, errno))
}

/// An entry of an open directory, links not followed. `path` is the path to report.
pub(crate) fn entry(directory: impl AsFd, name: &std::ffi::CStr, path: ByteString) -> Entry {
    let mut entry = Entry {
        path,
        ..Entry::default()
    };
    match fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let stat = from_system(&stat);
            if stat.kind == FileKind::Link {
                entry.link = readlinkat(&directory, name).ok().map(Into::into);
            }
            entry.stat = Some(stat);
        }
        Err(errno) => entry.error = Some(RemoteError::of(ErrorStage::File, "stat", errno)),
    }
    entry
}

pub(crate) fn from_system(stat: &FileStat) -> Stat {
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => FileKind::File,
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFLNK => FileKind::Link,
        libc::S_IFBLK => FileKind::Block,
        libc::S_IFCHR => FileKind::Character,
        libc::S_IFIFO => FileKind::Fifo,
        libc::S_IFSOCK => FileKind::Socket,
        _ => FileKind::Other,
    };
    let is_device = matches!(kind, FileKind::Block | FileKind::Character);
    Stat {
        kind,
        mode: stat.st_mode & 0o7777,
        links: stat.st_nlink,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size.max(0) as u64,
        blocks: stat.st_blocks.max(0) as u64,
        modified: (stat.st_mtime, stat.st_mtime_nsec as u32),
        accessed: (stat.st_atime, stat.st_atime_nsec as u32),
        changed: (stat.st_ctime, stat.st_ctime_nsec as u32),
        device: stat.st_dev,
        inode: stat.st_ino,
        special: is_device.then(|| (major(stat.st_rdev), minor(stat.st_rdev))),
    }
}
