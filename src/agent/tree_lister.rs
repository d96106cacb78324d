//! Directories with what is below them, in parts: a mounted image is asked for them long before all are read.

use std::cmp::Reverse;
use std::ffi::CStr;
use std::io::Write;

use nix::fcntl::OFlag;
use nix::unistd::{chdir, fchdir};

use super::directory_read_ahead::DirectoryReadAhead;
use super::records::Records;
use super::root::RootDir;
use super::walk::{Name, OneDirectory};
use crate::archive::attributes_at;
use crate::protocol::{
    Attributes, ByteString, ErrorStage, FileKind, Operation, RemoteError, TreeDetail, TreeRecord,
};

/// The most bytes of attributes of a file that come with its entry: far below the limit of a record.
const MAX_ATTRIBUTES: usize = 8 << 10;

/// A `ListTree` that is being answered: writes the entries of directories, and of those below them as long as there are no
/// more than a number of entries, in the order in which a walk that visits entries by inode number comes to them.
pub(super) struct TreeLister {
    root: RootDir,
    /// Those still to be listed; the next is the last.
    left: Vec<ByteString>,
    current: Option<Current>,
    count: usize,
    limit: usize,
    detail: TreeDetail,
    read_ahead: DirectoryReadAhead,
}

/// The directory that is being listed.
struct Current {
    path: ByteString,
    entries: OneDirectory,
    /// The directories in it, with their inode numbers.
    below: Vec<(u64, ByteString)>,
    reads_ahead: bool,
}

impl TreeLister {
    /// `None` if it is another request.
    pub(super) fn new(op: &Operation, is_of_appliance: bool) -> Option<Result<Self, RemoteError>> {
        let Operation::ListTree {
            root,
            directories,
            limit,
            detail,
            ..
        } = op
        else {
            return None;
        };
        Some(RootDir::of_request(root.as_path()).map(|root| Self {
            root,
            left: directories.iter().rev().cloned().collect(),
            current: None,
            count: 0,
            limit: *limit,
            detail: *detail,
            read_ahead: DirectoryReadAhead::new(is_of_appliance),
        }))
    }

    /// Writes about `most` bytes of records. Returns how many records there were: none if it is over.
    pub(super) fn list(&mut self, most: usize, data: impl Write) -> Result<u64, RemoteError> {
        let _back = Back;
        let mut records = Records::new(data);
        if let Some(current) = &self.current {
            self.enter(current)?;
        }
        while records.length() < most {
            match &mut self.current {
                Some(current) => {
                    let read_ahead = current.reads_ahead.then_some(&self.read_ahead);
                    match current.entries.next(read_ahead) {
                        Some(Ok(name)) => {
                            self.count += 1;
                            records.put(&current.record(name, self.detail))?;
                        }
                        Some(Err(error)) => self.end(Some(error), &mut records)?,
                        None => self.end(None, &mut records)?,
                    }
                }
                None => {
                    let Some(path) = self.left.pop() else { break };
                    records.put(&TreeRecord::Directory(path.clone()))?;
                    match self.open(path) {
                        Ok(current) => self.current = Some(current),
                        Err(error) => self.end(Some(error), &mut records)?,
                    }
                }
            }
        }
        records.finish()
    }

    fn open(&self, path: ByteString) -> Result<Current, RemoteError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let failed = |errno| RemoteError::of(ErrorStage::File, path.as_path().display(), errno);
        let directory = self
            .root
            .open_below(path.as_path(), flags)
            .map_err(failed)?;
        let current = Current {
            entries: OneDirectory::new(directory)?,
            path,
            below: Vec::new(),
            reads_ahead: self.count < self.limit,
        };
        self.enter(&current)?;
        Ok(current)
    }

    /// Attributes are read by a name in the current directory.
    fn enter(&self, current: &Current) -> Result<(), RemoteError> {
        if self.detail < TreeDetail::Attributes {
            return Ok(());
        }
        let path = current.path.as_path().display();
        fchdir(current.entries.directory())
            .map_err(|errno| RemoteError::of(ErrorStage::File, path, errno))
    }

    /// The current directory was listed, or cannot be.
    fn end(
        &mut self,
        error: Option<RemoteError>,
        records: &mut Records<impl Write>,
    ) -> Result<(), RemoteError> {
        records.put(&TreeRecord::End(error))?;
        let current = self.current.take();
        if self.count >= self.limit {
            self.left.clear();
            return Ok(());
        }
        let mut below = current.map(|current| current.below).unwrap_or_default();
        below.sort_by_key(|(inode, _)| Reverse(*inode));
        self.left.extend(below.into_iter().map(|(_, path)| path));
        Ok(())
    }
}

impl Current {
    /// What is told of an entry.
    fn record(&mut self, name: Name, detail: TreeDetail) -> TreeRecord {
        match name.kind {
            Some(kind @ (FileKind::File | FileKind::Link)) if detail == TreeDetail::Names => {
                return TreeRecord::Name {
                    name: ByteString(name.name.into_bytes()),
                    kind,
                    inode: name.inode,
                };
            }
            _ => {}
        }
        let entry = self.entries.entry(&name.name);
        if let Some(stat) = &entry.stat
            && stat.kind == FileKind::Directory
        {
            let inside = [&self.path.0[..], b"/", &entry.path.0].concat();
            self.below.push((stat.inode, ByteString(inside)));
        }
        let wants_attributes = detail == TreeDetail::Attributes;
        let found = wants_attributes.then(|| short_attributes(&name.name));
        TreeRecord::Entry(entry, found.flatten())
    }
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
