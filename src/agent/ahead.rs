//! What a mounted image is asked for next: directories with what is below them, and the contents of many
//! small files. One request for each would take longer on its way than in the guest.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{chdir, fchdir};

use super::directory_read_ahead::DirectoryReadAhead;
use super::gather::{AT_ONCE, Gatherer, OpenFile};
use super::parents::Parents;
use super::records::Records;
use super::root::RootDir;
use super::walk;
use crate::archive::{self, attributes_at};
use crate::protocol::{
    Attributes, ByteString, ErrorStage, FileKind, MAX_CONTENT, RemoteError, TreeRecord, UNREAD,
};

/// The most bytes of attributes of a file that come with its entry: far below the limit of a record.
const MAX_ATTRIBUTES: usize = 8 << 10;

/// How much of the contents of files is written at a time, in bytes.
const BUFFER: usize = 64 << 10;

/// Writes the entries of directories, and of those below them as long as there are no more than `limit`
/// entries, in the order in which a walk that visits entries by inode number comes to them. With their attributes if
/// these are wanted.
pub(super) fn list_tree(
    root: &ByteString,
    directories: &[ByteString],
    limit: usize,
    attributes: bool,
    read_ahead: &DirectoryReadAhead,
    data: impl Write,
    opened: impl FnOnce(),
) -> Result<u64, RemoteError> {
    let root = RootDir::of_request(root.as_path())?;
    opened();
    let _back = Back;
    let mut records = Records::new(data);
    let mut left: Vec<ByteString> = directories.iter().rev().cloned().collect();
    let mut count = 0;
    while let Some(path) = left.pop() {
        records.put(&TreeRecord::Directory(path.clone()))?;
        let mut below = Vec::new();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let directory = root.open_below(path.as_path(), flags);
        let failed = |errno| RemoteError::of(ErrorStage::File, path.as_path().display(), errno);
        let listed = directory.map_err(failed).and_then(|directory| {
            if attributes {
                fchdir(&directory).map_err(failed)?;
            }
            let read_ahead = (count < limit).then_some(read_ahead);
            walk::list(directory, read_ahead, |_, name, entry| {
                count += 1;
                let stat = entry.stat.as_ref();
                if let Some(stat) = stat.filter(|stat| stat.kind == FileKind::Directory) {
                    let inside = [&path.0[..], b"/", &entry.path.0].concat();
                    below.push((stat.inode, ByteString(inside)));
                }
                let found = attributes.then(|| short_attributes(name)).flatten();
                records.put(&TreeRecord::Entry(entry, found))
            })
        });
        // If it is the pipe that failed, this does too.
        records.put(&TreeRecord::End(listed.err()))?;
        if count >= limit {
            break;
        }
        below.sort_by_key(|(inode, _)| std::cmp::Reverse(*inode));
        left.extend(below.into_iter().map(|(_, path)| path));
    }
    records.finish()
}

/// Leads back to the root directory: a filesystem that the current directory is in stays in use.
struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        // It is there always.
        let _ = chdir("/");
    }
}

/// The attributes of a name in the current directory: faster than by a path that leads there. None if they are
/// long, or could not be read.
fn short_attributes(name: &CStr) -> Option<Attributes> {
    let found = attributes_at(name).ok()?;
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
    gatherer: &mut Gatherer,
    data: impl Write,
    opened: impl FnOnce(),
) -> Result<u64, RemoteError> {
    let root = RootDir::of_request(root.as_path())?;
    opened();
    let mut data = BufWriter::with_capacity(BUFFER, data);
    let mut parents = Parents::below(&root);
    for paths in paths.chunks(AT_ONCE) {
        let files: Vec<_> = paths
            .iter()
            .map(|path| open(&mut parents, path).ok())
            .collect();
        let opened: Vec<_> = files.iter().map(Option::as_ref).collect();
        let gathered = gatherer.read(&opened);
        for (number, file) in files.iter().enumerate() {
            let gathered = gathered.of(number);
            let left = file.as_ref().filter(|_| gathered.is_none());
            let read = left.and_then(|(file, _)| content(file));
            let written = match gathered.or(read.as_deref()) {
                Some(content) => put(content, &mut data),
                None => data.write_all(&UNREAD.to_le_bytes()),
            };
            written.map_err(in_pipe)?;
        }
    }
    data.flush().map_err(in_pipe)?;
    Ok(0)
}

fn in_pipe(error: io::Error) -> RemoteError {
    RemoteError::of(ErrorStage::Process, "the pipe", error)
}

fn put(content: &[u8], data: &mut impl Write) -> io::Result<()> {
    data.write_all(&(content.len() as u64).to_le_bytes())?;
    data.write_all(content)
}

fn open<'a>(parents: &mut Parents<'a>, path: &'a ByteString) -> Result<OpenFile, Errno> {
    let (directory, name) = parents.open(path.as_path())?;
    archive::open(directory, &name)
}

/// `None` if it cannot be read, or is too long.
fn content(file: &File) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let read = file.take(MAX_CONTENT + 1).read_to_end(&mut content).ok()?;
    (read as u64 <= MAX_CONTENT).then_some(content)
}
