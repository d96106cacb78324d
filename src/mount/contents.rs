//! The contents of small files, which are fetched many at a time: those that a walk through the tree will
//! come to next.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

use super::listing::{joined, split};
use super::listings::Listings;
use crate::protocol::{ByteString, FileKind, MAX_CONTENT, UNREAD, WireError};
use crate::session::{Session, SessionError};

/// How many files are fetched at a time: more each time, as long as most of them are read.
const MOST_FILES: usize = 1024;

/// The most bytes that are fetched at a time, of files and of their paths.
const MOST_BYTES: u64 = 4 << 20;
const MOST_PATHS: usize = 200 << 10;

/// How many bytes of files are kept that nobody has read yet.
const MAX_KEPT: usize = 32 << 20;

/// How many entries are looked at in search of files.
const MAX_SEARCH: usize = 20_000;

#[derive(Clone, Debug)]
enum State {
    Coming(Rc<Notify>),
    Here(Rc<Vec<u8>>),
}

#[derive(Debug, Default)]
struct Batch {
    files: usize,
    /// How many of them were read.
    used: usize,
    /// When this one is read, the next ones are fetched.
    middle: Option<Vec<u8>>,
    last: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Contents {
    session: Session,
    root: &'static str,
    listings: Rc<Listings>,
    /// By path.
    known: RefCell<HashMap<Vec<u8>, State>>,
    /// Those that are here, the oldest first.
    order: RefCell<VecDeque<Vec<u8>>>,
    kept: Cell<usize>,
    batch: RefCell<Batch>,
}

impl Contents {
    pub fn new(session: Session, root: &'static str, listings: Rc<Listings>) -> Self {
        Self {
            session,
            root,
            listings,
            known: RefCell::default(),
            order: RefCell::default(),
            kept: Cell::new(0),
            batch: RefCell::default(),
        }
    }

    /// The content of a file of at most [`MAX_CONTENT`] bytes; `None` if it has to be read in another way.
    pub async fn get(self: &Rc<Self>, path: &[u8]) -> Option<Rc<Vec<u8>>> {
        loop {
            let state = self.known.borrow().get(path).cloned();
            match state {
                Some(State::Here(content)) => {
                    self.used(path);
                    return Some(content);
                }
                Some(State::Coming(notify)) => {
                    notify.notified().await;
                    if !self.known.borrow().contains_key(path) {
                        return None;
                    }
                }
                None => {
                    let wanted = self.next_batch(path, true);
                    self.start(wanted);
                }
            }
        }
    }

    /// All of a file was read; the kernel has it now.
    pub fn drop_read(&self, path: &[u8]) {
        let mut known = self.known.borrow_mut();
        if let Some(State::Here(content)) = known.get(path) {
            self.kept.set(self.kept.get() - content.len());
            known.remove(path);
        }
    }

    /// A file of the batch is read for the first time: its second half is a sign to fetch the next.
    fn used(self: &Rc<Self>, path: &[u8]) {
        let mut batch = self.batch.borrow_mut();
        batch.used += 1;
        if batch.middle.as_deref() == Some(path) {
            batch.middle = None;
            let last = batch.last.clone();
            drop(batch);
            if let Some(last) = last {
                let wanted = self.next_batch(&last, false);
                self.start(wanted);
            }
        }
    }

    /// The next files from `path` on, which is one of them if it `is_wanted`.
    fn next_batch(&self, path: &[u8], is_wanted: bool) -> Vec<Vec<u8>> {
        let mut batch = self.batch.borrow_mut();
        let is_useful = batch.used * 2 >= batch.files || !is_wanted;
        let files = match is_useful {
            true => (batch.files * 4).clamp(1, MOST_FILES),
            false => 1,
        };
        let mut wanted = Vec::new();
        if is_wanted {
            wanted.push(path.to_vec());
        }
        let (mut bytes, mut paths) = (0_u64, path.len());
        let following = self.following(path).take(MAX_SEARCH);
        for (path, size) in following.filter_map(|(path, size)| Some((path, size?))) {
            // The guest may state any size.
            bytes = bytes.saturating_add(size);
            paths += path.len();
            if wanted.len() >= files || bytes > MOST_BYTES || paths > MOST_PATHS {
                break;
            }
            if size > 0 && size <= MAX_CONTENT && !self.known.borrow().contains_key(&path) {
                wanted.push(path);
            }
        }
        *batch = Batch {
            files: wanted.len(),
            used: 0,
            middle: wanted
                .get(wanted.len() / 2)
                .filter(|_| wanted.len() > 8)
                .cloned(),
            last: wanted.last().cloned(),
        };
        wanted
    }

    /// The entries that a walk comes to after `path`, as far as their directories are known, each with its
    /// size if it is a regular file.
    fn following(&self, path: &[u8]) -> impl Iterator<Item = (Vec<u8>, Option<u64>)> {
        // Directories, and the place of the next entry in each.
        let mut stack = Vec::new();
        let mut at = path;
        while !at.is_empty() {
            let (parent, name) = split(at);
            if let Some(listing) = self.listings.known(parent) {
                let next = listing
                    .place(name)
                    .map_or(listing.entries.len(), |place| place + 1);
                stack.insert(0, (parent.to_vec(), listing, next));
            }
            at = parent;
        }
        std::iter::from_fn(move || {
            loop {
                let (directory, listing, next) = stack.last_mut()?;
                let Some((name, known)) = listing.entries.get(*next) else {
                    stack.pop();
                    continue;
                };
                *next += 1;
                let path = joined(directory, name);
                let file = known
                    .facts()
                    .filter(|facts| facts.stat.kind == FileKind::File);
                let size = file.map(|facts| facts.stat.size);
                if known.kind() == FileKind::Directory
                    && let Some(listing) = self.listings.known(&path)
                {
                    stack.push((path.clone(), listing, 0));
                }
                return Some((path, size));
            }
        })
    }

    /// Fetches files in the background.
    fn start(self: &Rc<Self>, wanted: Vec<Vec<u8>>) {
        if wanted.is_empty() {
            return;
        }
        self.make_room();
        let notify = Rc::new(Notify::new());
        let mut known = self.known.borrow_mut();
        for path in &wanted {
            known.insert(path.clone(), State::Coming(Rc::clone(&notify)));
        }
        drop(known);
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if let Err(error) = this.receive(&wanted, &notify).await {
                tracing::debug!("fetching files: {error}");
            }
            let mut known = this.known.borrow_mut();
            for path in &wanted {
                if let Some(State::Coming(_)) = known.get(path) {
                    known.remove(path);
                }
            }
            notify.notify_waiters();
        });
    }

    async fn receive(&self, wanted: &[Vec<u8>], notify: &Notify) -> Result<(), SessionError> {
        let paths = wanted.iter().cloned().map(ByteString).collect();
        let mut stream = self.session.contents(self.root, paths).await?;
        for path in wanted {
            let length = stream.read_u64_le().await;
            let length = length.map_err(SessionError::of_stream)?;
            if length == UNREAD {
                self.known.borrow_mut().remove(path);
                notify.notify_waiters();
                continue;
            }
            if length > MAX_CONTENT {
                let what = format!("a file of {length} bytes");
                return Err(WireError::OutOfOrder(what).into());
            }
            let mut content = vec![0; length as usize];
            let read = stream.read_exact(&mut content).await;
            read.map_err(SessionError::of_stream)?;
            self.kept.set(self.kept.get() + content.len());
            let here = State::Here(Rc::new(content));
            self.known.borrow_mut().insert(path.clone(), here);
            self.order.borrow_mut().push_back(path.clone());
            notify.notify_waiters();
        }
        Ok(())
    }

    /// Drops the oldest files if there are too many.
    fn make_room(&self) {
        let mut order = self.order.borrow_mut();
        while self.kept.get() > MAX_KEPT {
            match order.pop_front() {
                Some(path) => self.drop_read(&path),
                None => return,
            }
        }
        let known = self.known.borrow();
        order.retain(|path| known.contains_key(path));
    }
}
