//! The mounted image, as the kernel asks for it. What the guest says of it is untrusted; names are
//! checked here, everything else by the kernel.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr,
};
use tokio::sync::Mutex;

use super::nodes::{Node, Nodes};
use super::reader::Reader;
use crate::protocol::{ByteString, Entry, FileKind, PathAt};
use crate::session::{Session, SessionError};

/// Name and value.
type Attribute = (ByteString, ByteString);

/// How long the kernel may believe what it was told: an image does not change.
const FOREVER: Duration = Duration::from_secs(1 << 24);

/// The largest directory, in bytes of names and targets of links.
const MAX_DIRECTORY: usize = 256 << 20;

/// The longest name (NAME_MAX).
const MAX_NAME: usize = 255;

/// The image that is mounted at one directory of the guest.
#[derive(Debug)]
pub struct Tree {
    session: Session,
    /// The directory of the guest.
    root: &'static str,
    nodes: RefCell<Nodes>,
    handles: RefCell<HashMap<u64, Handle>>,
    next: Cell<u64>,
    /// The extended attributes that were asked for last.
    attributes: RefCell<Option<(INodeNo, Rc<Vec<Attribute>>)>>,
}

#[derive(Clone, Debug)]
enum Handle {
    File(Rc<Mutex<Reader>>),
    Directory(Rc<Directory>),
}

#[derive(Debug)]
struct Directory {
    number: INodeNo,
    path: Vec<u8>,
    entries: Vec<Entry>,
}

/// A failure, as the kernel has it.
fn errno(error: &SessionError) -> Errno {
    if !matches!(error, SessionError::Refused(_)) {
        tracing::debug!("a request for the mount: {error}");
    }
    error.errno().map_or(Errno::EIO, Errno::from_i32)
}

/// Whether the kernel takes it as one name.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= MAX_NAME
        && !name.contains(&b'/')
        && !name.contains(&0)
}

impl Tree {
    pub async fn new(session: Session, root: &'static str) -> Result<Self, SessionError> {
        let stat = session.stat(PathAt::new(root, b"/"), true).await?;
        Ok(Self {
            session,
            root,
            nodes: RefCell::new(Nodes::new(&stat)),
            handles: RefCell::default(),
            next: Cell::new(1),
            attributes: RefCell::default(),
        })
    }

    fn node(&self, number: INodeNo) -> Result<Node, Errno> {
        self.nodes
            .borrow()
            .get(number)
            .cloned()
            .ok_or(Errno::ESTALE)
    }

    fn at(&self, path: &[u8]) -> PathAt {
        PathAt::new(self.root, if path.is_empty() { b"/" } else { path })
    }

    fn hold(&self, handle: Handle) -> FileHandle {
        let number = self.next.replace(self.next.get() + 1);
        self.handles.borrow_mut().insert(number, handle);
        FileHandle(number)
    }

    fn held(&self, handle: FileHandle) -> Option<Handle> {
        self.handles.borrow().get(&handle.0).cloned()
    }

    fn directory(&self, handle: FileHandle) -> Result<Rc<Directory>, Errno> {
        match self.held(handle) {
            Some(Handle::Directory(directory)) => Ok(directory),
            _ => Err(Errno::EBADF),
        }
    }

    pub async fn lookup(&self, parent: INodeNo, name: &[u8], reply: ReplyEntry) {
        match self.find(parent, name).await {
            Ok(attr) => {
                self.nodes.borrow_mut().reference(attr.ino);
                reply.entry(&FOREVER, &attr, Generation(0));
            }
            Err(errno) => reply.error(errno),
        }
    }

    async fn find(&self, parent: INodeNo, name: &[u8]) -> Result<FileAttr, Errno> {
        let mut path = self.node(parent)?.path;
        path.push(b'/');
        path.extend(name);
        let at = self.at(&path);
        let found = self.session.stat(at.clone(), false).await;
        let stat = found.map_err(|error| errno(&error))?;
        let link = match stat.kind {
            FileKind::Link => {
                let link = self.session.read_link(at).await;
                Some(link.map_err(|error| errno(&error))?.0)
            }
            _ => None,
        };
        Ok(self.nodes.borrow_mut().add(path, &stat, link))
    }

    pub fn forget(&self, number: INodeNo, count: u64) {
        self.nodes.borrow_mut().forget(number, count);
    }

    pub fn getattr(&self, number: INodeNo, reply: ReplyAttr) {
        match self.node(number) {
            Ok(node) => reply.attr(&FOREVER, &node.attr),
            Err(errno) => reply.error(errno),
        }
    }

    pub fn readlink(&self, number: INodeNo, reply: ReplyData) {
        let link = self
            .node(number)
            .and_then(|node| node.link.ok_or(Errno::EINVAL));
        match link {
            Ok(link) => reply.data(&link),
            Err(errno) => reply.error(errno),
        }
    }

    pub fn open(&self, number: INodeNo, reply: ReplyOpen) {
        match self.node(number) {
            Ok(node) => {
                let reader = Reader::new(self.at(&node.path), node.attr.size);
                let handle = self.hold(Handle::File(Rc::new(Mutex::new(reader))));
                reply.opened(
                    handle,
                    FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    pub async fn read(&self, handle: FileHandle, offset: u64, size: u32, reply: ReplyData) {
        let Some(Handle::File(file)) = self.held(handle) else {
            return reply.error(Errno::EBADF);
        };
        // In the order of the requests.
        let mut reader = file.lock().await;
        match reader.read(&self.session, offset, size.into()).await {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(errno(&error)),
        }
    }

    pub fn release(&self, handle: FileHandle, reply: ReplyEmpty) {
        self.handles.borrow_mut().remove(&handle.0);
        reply.ok();
    }

    pub async fn opendir(&self, number: INodeNo, reply: ReplyOpen) {
        match self.list(number).await {
            Ok(directory) => {
                let handle = self.hold(Handle::Directory(Rc::new(directory)));
                reply.opened(
                    handle,
                    FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR,
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    async fn list(&self, number: INodeNo) -> Result<Directory, Errno> {
        let path = self.node(number)?.path;
        let listing = async {
            let mut listed = self.session.list(self.at(&path)).await?;
            let (mut entries, mut weight) = (Vec::new(), 0);
            while let Some(entry) = listed.next().await? {
                weight += entry.weight() + size_of::<Entry>();
                if weight > MAX_DIRECTORY {
                    return Ok(Err(Errno::EFBIG));
                }
                if is_name(&entry.path.0) {
                    entries.push(entry);
                }
            }
            Ok(Ok(entries))
        };
        let entries = listing
            .await
            .map_err(|error: SessionError| errno(&error))??;
        Ok(Directory {
            number,
            path,
            entries,
        })
    }

    /// Offsets are one more than the place of an entry, the first two of which are `.` and `..`.
    pub fn readdir(&self, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let directory = match self.directory(handle) {
            Ok(directory) => directory,
            Err(errno) => return reply.error(errno),
        };
        for (place, name, attr) in self.from(&directory, offset) {
            let is_full = reply.add(attr.ino, place, attr.kind, OsStr::from_bytes(name));
            self.nodes.borrow_mut().drop_unused(attr.ino);
            if is_full {
                break;
            }
        }
        reply.ok();
    }

    pub fn readdirplus(&self, handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let directory = match self.directory(handle) {
            Ok(directory) => directory,
            Err(errno) => return reply.error(errno),
        };
        for (place, name, attr) in self.from(&directory, offset) {
            let shown = OsStr::from_bytes(name);
            if reply.add(attr.ino, place, shown, &FOREVER, &attr, Generation(0)) {
                self.nodes.borrow_mut().drop_unused(attr.ino);
                break;
            }
            if place > 2 {
                self.nodes.borrow_mut().reference(attr.ino);
            }
        }
        reply.ok();
    }

    /// The entries from `offset` on: the offset of the next one, name, attributes.
    fn from<'a>(
        &'a self,
        directory: &'a Directory,
        offset: u64,
    ) -> impl Iterator<Item = (u64, &'a [u8], FileAttr)> {
        let own = self.node(directory.number).map(|node| node.attr);
        let own = own.into_iter().cycle().zip([&b"."[..], b".."]);
        let dots = own.map(|(attr, name)| (name, attr));
        let entries = directory.entries.iter().filter_map(|entry| {
            let stat = entry.stat.as_ref()?;
            let mut path = directory.path.clone();
            path.push(b'/');
            path.extend(&entry.path.0);
            let link = entry.link.as_ref().map(|link| link.0.clone());
            let attr = self.nodes.borrow_mut().add(path, stat, link);
            Some((&entry.path.0[..], attr))
        });
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        let all = dots.chain(entries).enumerate().skip(skipped);
        all.map(|(place, (name, attr))| (place as u64 + 1, name, attr))
    }

    pub async fn statfs(&self, number: INodeNo, reply: ReplyStatfs) {
        let told = match self.node(number) {
            Ok(node) => {
                let told = self.session.statfs(self.at(&node.path)).await;
                told.map_err(|error| errno(&error))
            }
            Err(errno) => Err(errno),
        };
        match told {
            Ok(told) => {
                let size = u32::try_from(told.block_size).unwrap_or(4096);
                let (blocks, free, available) = (told.blocks, told.free, told.available);
                let (files, left) = (told.inodes, told.inodes_free);
                reply.statfs(
                    blocks,
                    free,
                    available,
                    files,
                    left,
                    size,
                    MAX_NAME as u32,
                    size,
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    async fn attributes_of(&self, number: INodeNo) -> Result<Rc<Vec<Attribute>>, Errno> {
        if let Some((last, attributes)) = &*self.attributes.borrow()
            && *last == number
        {
            return Ok(Rc::clone(attributes));
        }
        let at = self.at(&self.node(number)?.path);
        let told = self.session.attributes(at).await;
        let told = Rc::new(told.map_err(|error| errno(&error))?);
        *self.attributes.borrow_mut() = Some((number, Rc::clone(&told)));
        Ok(told)
    }

    pub async fn getxattr(&self, number: INodeNo, name: &[u8], size: u32, reply: ReplyXattr) {
        let found = self.attributes_of(number).await.and_then(|all| {
            let found = all.iter().find(|(known, _)| known.0 == name);
            found
                .map(|(_, value)| value.0.clone())
                .ok_or(Errno::ENODATA)
        });
        sized(found, size, reply);
    }

    pub async fn listxattr(&self, number: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.attributes_of(number).await.map(|all| {
            let names = all.iter().map(|(name, _)| [&name.0[..], b"\0"].concat());
            names.collect::<Vec<_>>().concat()
        });
        sized(names, size, reply);
    }
}

/// Replies with a value, or its size if that is asked for, by 0.
fn sized(value: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match value {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(errno) => reply.error(errno),
    }
}
