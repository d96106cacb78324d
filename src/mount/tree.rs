//! The mounted image, as the kernel asks for it. What the guest says of it is untrusted; names are
//! checked in [`super::listing_stream`], everything else by the kernel.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use fuser::{Errno, INodeNo};
use tokio::sync::Mutex;

use super::contents::Contents;
use super::listing::{Listing, joined, split};
use super::listings::Listings;
use super::nodes::{Facts, Known, Node, Nodes};
use super::reader::Reader;
use crate::protocol::{Attributes, FileKind, FileSystem, MAX_CONTENT, PathAt};
use crate::session::{Session, SessionError};

/// A directory in which as many names were looked up is listed, if it is no larger than this.
const MANY_LOOKUPS: u32 = 3;
const SMALL_DIRECTORY: u64 = 128 << 10;

/// The image that is mounted at one directory of the guest.
#[derive(Debug)]
pub struct Tree {
    session: Session,
    /// The directory of the guest.
    root: &'static str,
    pub(super) nodes: RefCell<Nodes>,
    listings: Rc<Listings>,
    contents: Rc<Contents>,
    handles: RefCell<HashMap<u64, Handle>>,
    next: Cell<u64>,
    /// The extended attributes that were asked for last, if they did not come with the entry.
    attributes: RefCell<Option<(INodeNo, Rc<Attributes>)>>,
    /// The directory in which a name was looked up last, and how often.
    looked_up: Cell<(INodeNo, u32)>,
}

#[derive(Clone, Debug)]
enum Handle {
    Small(Vec<u8>),
    File(Rc<Mutex<Reader>>),
    Directory(Rc<Directory>),
}

/// A directory that a program has open.
#[derive(Debug)]
pub(super) struct Directory {
    pub number: INodeNo,
    pub path: Vec<u8>,
    pub listing: Rc<Listing>,
}

/// A failure, as the kernel has it.
fn errno(error: SessionError) -> Errno {
    if !matches!(error, SessionError::Refused(_)) {
        tracing::debug!("a request for the mount: {error}");
    }
    error.errno().map_or(Errno::EIO, Errno::from_i32)
}

impl Tree {
    /// What is mounted at `root` in the guest.
    pub async fn new(session: Session, root: &'static str) -> Result<Self, SessionError> {
        let listings = Listings::new(session.clone(), root);
        Self::of(session, root, listings).await
    }

    pub(super) async fn of(
        session: Session,
        root: &'static str,
        listings: Listings,
    ) -> Result<Self, SessionError> {
        let stat = session.stat(PathAt::new(root, b"/"), true).await?;
        let listings = Rc::new(listings);
        let contents = Contents::new(session.clone(), root, Rc::clone(&listings));
        Ok(Self {
            session,
            root,
            nodes: RefCell::new(Nodes::new(stat)),
            contents: Rc::new(contents),
            listings,
            handles: RefCell::default(),
            next: Cell::new(1),
            attributes: RefCell::default(),
            looked_up: Cell::new((INodeNo(0), 0)),
        })
    }

    pub(super) fn node(&self, number: INodeNo) -> Result<Node, Errno> {
        let nodes = self.nodes.borrow();
        nodes.get(number).cloned().ok_or(Errno::ESTALE)
    }

    fn at(&self, path: &[u8]) -> PathAt {
        PathAt::new(self.root, if path.is_empty() { b"/" } else { path })
    }

    fn hold(&self, handle: Handle) -> u64 {
        let number = self.next.replace(self.next.get() + 1);
        self.handles.borrow_mut().insert(number, handle);
        number
    }

    fn held(&self, handle: u64) -> Result<Handle, Errno> {
        let handles = self.handles.borrow();
        handles.get(&handle).cloned().ok_or(Errno::EBADF)
    }

    pub(super) fn release(&self, handle: u64) {
        self.handles.borrow_mut().remove(&handle);
    }

    /// The file of a name in a directory, and its path.
    pub(super) async fn find(
        &self,
        parent: INodeNo,
        name: &[u8],
    ) -> Result<(Vec<u8>, Facts), Errno> {
        let directory = self.node(parent)?;
        let path = joined(&directory.path, name);
        let is_small = directory.attr.size <= SMALL_DIRECTORY;
        let count = self.count_lookup(parent);
        let listing = match self.listings.known(&directory.path) {
            Some(listing) => Some(listing),
            None if is_small && count >= MANY_LOOKUPS => {
                self.listings.get(&directory.path).await.ok()
            }
            None => None,
        };
        if let Some(listing) = listing.filter(|listing| !listing.is_partial) {
            let mut known = listing.find(name).ok_or(Errno::ENOENT)?.facts().cloned();
            if known.is_none()
                && (is_small || count >= MANY_LOOKUPS)
                && let Ok(Some(listing)) = self.listings.with_facts(&directory.path).await
            {
                known = listing.find(name).and_then(Known::facts).cloned();
            }
            if let Some(facts) = known {
                return Ok((path, facts));
            }
        }
        let facts = self.facts(&path).await.map_err(errno)?;
        Ok((path, facts))
    }

    /// How often names were looked up in this directory, one after the other.
    fn count_lookup(&self, number: INodeNo) -> u32 {
        let count = match self.looked_up.get() {
            (last, count) if last == number => count.saturating_add(1),
            _ => 1,
        };
        self.looked_up.set((number, count));
        count
    }

    /// A node of whose file more is known than the name. The kernel looks up each other one first, unless a file is
    /// opened by its handle (open_by_handle_at(2)).
    pub(super) fn known_node(&self, number: INodeNo) -> Result<Node, Errno> {
        let node = self.node(number)?;
        match node.is_named {
            false => Ok(node),
            true => Err(Errno::ESTALE),
        }
    }

    async fn facts(&self, path: &[u8]) -> Result<Facts, SessionError> {
        let at = self.at(path);
        let stat = self.session.stat(at.clone(), false).await?;
        let link = match stat.kind {
            FileKind::Link => Some(self.session.read_link(at).await?.0),
            _ => None,
        };
        Ok(Facts {
            stat,
            link,
            attributes: None,
        })
    }

    pub(super) fn open(&self, number: INodeNo) -> Result<u64, Errno> {
        let Node { path, attr, .. } = self.known_node(number)?;
        let is_small = attr.size <= MAX_CONTENT && !self.listings.is_complete();
        Ok(self.hold(match is_small {
            true => Handle::Small(path),
            false => Handle::File(self.reader(&path, attr.size)),
        }))
    }

    fn reader(&self, path: &[u8], size: u64) -> Rc<Mutex<Reader>> {
        Rc::new(Mutex::new(Reader::new(self.at(path), size)))
    }

    /// The bytes at `offset`, fewer than `length` at the file's end only.
    pub(super) async fn read(
        &self,
        handle: u64,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, Errno> {
        let reader = match self.held(handle)? {
            Handle::Directory(_) => return Err(Errno::EISDIR),
            Handle::File(reader) => reader,
            Handle::Small(path) => match self.contents.get(&path).await {
                Some(content) => {
                    let start = content
                        .len()
                        .min(usize::try_from(offset).unwrap_or(usize::MAX));
                    let end = content.len().min(start + length as usize);
                    if end == content.len() {
                        self.contents.drop_read(&path);
                    }
                    return Ok(content[start..end].to_vec());
                }
                None => {
                    // It tells why.
                    let reader = self.reader(&path, MAX_CONTENT);
                    let file = Handle::File(Rc::clone(&reader));
                    self.handles.borrow_mut().insert(handle, file);
                    reader
                }
            },
        };
        // In the order of the requests.
        let mut reader = reader.lock().await;
        let read = reader.read(&self.session, offset, length.into()).await;
        read.map_err(errno)
    }

    pub(super) async fn open_directory(&self, number: INodeNo) -> Result<u64, Errno> {
        let path = self.node(number)?.path;
        let listing = self.listings.get(&path).await.map_err(errno)?;
        let directory = Directory {
            number,
            path,
            listing,
        };
        Ok(self.hold(Handle::Directory(Rc::new(directory))))
    }

    pub(super) fn directory(&self, handle: u64) -> Result<Rc<Directory>, Errno> {
        match self.held(handle)? {
            Handle::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) async fn filesystem(&self, number: INodeNo) -> Result<FileSystem, Errno> {
        let at = self.at(&self.node(number)?.path);
        self.session.statfs(at).await.map_err(errno)
    }

    pub(super) async fn attributes(&self, number: INodeNo) -> Result<Rc<Attributes>, Errno> {
        let node = self.node(number)?;
        if let Some(attributes) = node.attributes {
            return Ok(attributes);
        }
        if let Some((last, attributes)) = &*self.attributes.borrow()
            && *last == number
        {
            return Ok(Rc::clone(attributes));
        }
        let (directory, name) = split(&node.path);
        if !node.path.is_empty()
            && let Ok(Some(listing)) = self.listings.with_attributes(directory).await
            && let Some(attributes) = listing
                .find(name)
                .and_then(|known| known.facts()?.attributes.clone())
        {
            return Ok(attributes);
        }
        let told = self.session.attributes(self.at(&node.path)).await;
        let told = Rc::new(told.map_err(errno)?);
        *self.attributes.borrow_mut() = Some((number, Rc::clone(&told)));
        Ok(told)
    }
}
