//! Looking at one file: what stat(2), readlink(2) and statvfs(3) say.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, fstat, fstatat, major, minor};
use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::fstatvfs;

use super::resolve::open_at;
use crate::guest::wire::{
    ByteString, Entry, ErrorStage, FileKind, FileSystem, Operation, PathAt, RemoteError, Response,
    Stat,
};

/// Answers a request that only looks.
///
/// # Errors
/// What the system says.
pub fn look(op: &Operation) -> Result<Response, RemoteError> {
    match op {
        Operation::Stat { at, follow } => {
            let mut flags = OFlag::O_PATH;
            flags.set(OFlag::O_NOFOLLOW, !follow);
            let file = open_at(at, flags)?;
            fstat(&file)
                .map(|stat| Response::Stat(from_system(&stat)))
                .map_err(|errno| error(at, errno))
        }
        Operation::ReadLink { at } => {
            let file = open_at(at, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
            // ENOENT is what readlinkat(2) says of a file that is no link.
            readlinkat(&file, "")
                .map(|target| Response::Link(target.into()))
                .map_err(|errno| match errno {
                    Errno::ENOENT => error(at, Errno::EINVAL),
                    errno => error(at, errno),
                })
        }
        Operation::StatFs { at } => {
            let file = open_at(at, OFlag::O_PATH)?;
            filesystem(&file).map_err(|errno| error(at, errno))
        }
        _ => Err(RemoteError::new(ErrorStage::Request, "not to be looked at")),
    }
}

fn error(at: &PathAt, errno: Errno) -> RemoteError {
    RemoteError::of(ErrorStage::File, at.path.as_path().display(), errno as i32)
}

fn filesystem(file: impl AsFd) -> Result<Response, Errno> {
    let found = fstatvfs(&file)?;
    let magic = fstatfs(&file)?.filesystem_type().0;
    Ok(Response::FileSystem(FileSystem {
        block_size: found.fragment_size(),
        blocks: found.blocks(),
        free: found.blocks_free(),
        available: found.blocks_available(),
        inodes: found.files(),
        inodes_free: found.files_free(),
        magic: magic as u64,
    }))
}

/// One entry of an open directory, links not followed; `path` is the name it goes by.
pub fn entry(directory: impl AsFd, name: &std::ffi::CStr, path: ByteString) -> Entry {
    let mut entry = Entry {
        path,
        stat: None,
        link: None,
        error: None,
    };
    match fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let stat = from_system(&stat);
            if stat.kind == FileKind::Link {
                entry.link = readlinkat(&directory, name).ok().map(Into::into);
            }
            entry.stat = Some(stat);
        }
        Err(errno) => entry.error = Some(RemoteError::of(ErrorStage::File, "stat", errno as i32)),
    }
    entry
}

/// stat(2)'s words as ours.
pub fn from_system(stat: &FileStat) -> Stat {
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
