//! What a mounted image is asked for next: directories with what is below them, and the contents of many
//! small files. One request for each would take longer on its way than in the guest.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

use super::lines::Lines;
use super::root::RootDir;
use super::walk::{self, READ_AHEAD_BYTES};
use crate::archive::attributes;
use crate::protocol::{
    Attributes, ByteString, ErrorStage, FileKind, MAX_CONTENT, RemoteError, TreeLine, UNREAD,
};

/// The most bytes of attributes of a file that come with its entry: far below the limit of a line.
const MAX_ATTRIBUTES: usize = 8 << 10;

/// How many files are opened and begun to be read before the first of them is waited for. A disk that has
/// many requests merges them, and each that is waited for alone takes as long as reading hundred pages.
const AT_ONCE: usize = 128;

/// Writes the entries of directories, and of those below them as long as there are no more than `limit`
/// entries, in the order in which a walk that visits entries by inode number comes to them.
pub(super) fn list_tree(
    root: &ByteString,
    directories: &[ByteString],
    limit: usize,
    data: impl Write,
    opened: impl FnOnce(),
) -> Result<u64, RemoteError> {
    let root = RootDir::of_request(root.as_path())?;
    opened();
    let mut lines = Lines::new(data);
    let mut left: Vec<ByteString> = directories.iter().rev().cloned().collect();
    let mut count = 0;
    while let Some(path) = left.pop() {
        lines.put(&TreeLine::Directory(path.clone()))?;
        let mut below = Vec::new();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let directory = root.open_below(path.as_path(), flags);
        let directory = directory
            .map_err(|errno| RemoteError::of(ErrorStage::File, path.as_path().display(), errno));
        let listed = directory.and_then(|directory| {
            walk::list(directory, |directory, name, entry| {
                count += 1;
                let stat = entry.stat.as_ref();
                if let Some(stat) = stat.filter(|stat| stat.kind == FileKind::Directory) {
                    let inside = [&path.0[..], b"/", &entry.path.0].concat();
                    below.push((stat.inode, ByteString(inside)));
                }
                let attributes = short_attributes(directory, name);
                lines.put(&TreeLine::Entry(entry, attributes))
            })
        });
        // If it is the pipe that failed, this does too.
        lines.put(&TreeLine::End(listed.err()))?;
        if count >= limit {
            break;
        }
        below.sort_by_key(|(inode, _)| std::cmp::Reverse(*inode));
        left.extend(below.into_iter().map(|(_, path)| path));
    }
    lines.finish()
}

/// None if they are long, or could not be read.
fn short_attributes(directory: &OwnedFd, name: &CStr) -> Option<Attributes> {
    let found = attributes(directory, name).ok()?;
    let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len();
    if found.iter().map(size).sum::<usize>() > MAX_ATTRIBUTES {
        return None;
    }
    let found = found.into_iter();
    Some(
        found
            .map(|(name, value)| (ByteString(name), ByteString(value)))
            .collect(),
    )
}

/// Writes, for each path below `root`, eight bytes with the length of a regular file, little-endian, and
/// its bytes; or [`UNREAD`] in place of the length.
pub(super) fn contents(
    root: &ByteString,
    paths: &[ByteString],
    mut data: impl Write,
    opened: impl FnOnce(),
) -> Result<u64, RemoteError> {
    let root = RootDir::of_request(root.as_path())?;
    opened();
    let mut buffer = Vec::new();
    for paths in paths.chunks(AT_ONCE) {
        let files: Vec<_> = paths.iter().map(|path| begun(&root, path)).collect();
        for file in files {
            buffer.clear();
            buffer.extend(UNREAD.to_le_bytes());
            match file.and_then(|file| content(file, &mut buffer)) {
                Ok(()) => {
                    let length = (buffer.len() - size_of::<u64>()) as u64;
                    buffer[..size_of::<u64>()].copy_from_slice(&length.to_le_bytes());
                }
                Err(_) => buffer.truncate(size_of::<u64>()),
            }
            let written = data.write_all(&buffer);
            written.map_err(|error| RemoteError::of(ErrorStage::Process, "the pipe", error))?;
        }
    }
    Ok(0)
}

/// Opens a file, and has the kernel begin to read it.
fn begun(root: &RootDir, path: &ByteString) -> Result<File, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
    let file = File::from(root.open_below(path.as_path(), flags)?);
    // It may be refused: then the file is read when it is its turn.
    let advice = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
    let _ = posix_fadvise(&file, 0, READ_AHEAD_BYTES, advice);
    Ok(file)
}

fn content(file: File, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    let read = file.take(MAX_CONTENT + 1).read_to_end(buffer);
    let read = read.map_err(|error| crate::sys::errno_of(&error))?;
    match read as u64 <= MAX_CONTENT {
        true => Ok(()),
        false => Err(Errno::EFBIG),
    }
}
