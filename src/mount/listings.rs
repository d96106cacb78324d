//! The directories of the image that are known. A walk through the tree gets many at a time: those that it
//! will come to next.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::Notify;

use super::nodes::Facts;
use crate::protocol::{ByteString, Entry, FileKind, RemoteError, TreeRecord, weight_of};
use crate::session::{Session, SessionError};

/// How many entries are asked for at a time, once directories are read one after the other.
const FEWEST_AHEAD: usize = 100;
const MOST_AHEAD: usize = 6400;

/// How many directories are named in a request.
const MAX_DIRECTORIES: usize = 200;

/// How many entries are kept. When there are more, all but the latest are asked for again.
const MAX_KEPT: usize = 200_000;

/// The largest directory, in bytes of names and targets of links.
const MAX_DIRECTORY: usize = 256 << 20;

/// The longest name (`NAME_MAX`).
pub(super) const MAX_NAME: usize = 255;

/// The entries of a directory, by inode number: in this order many programs visit them.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub entries: Vec<(Vec<u8>, Facts)>,
    by_name: HashMap<Vec<u8>, usize>,
    /// There are entries of which nothing but the name is known.
    pub is_partial: bool,
    /// The entries came without their extended attributes.
    lacks_attributes: bool,
}

impl Listing {
    pub fn new(mut entries: Vec<(Vec<u8>, Facts)>) -> Self {
        entries.sort_by_key(|(_, facts)| facts.stat.inode);
        let names = entries.iter().enumerate();
        let by_name = names.map(|(place, (name, _))| (name.clone(), place));
        Self {
            by_name: by_name.collect(),
            entries,
            is_partial: false,
            lacks_attributes: false,
        }
    }

    /// Where the entry of a name is.
    pub fn place(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub fn find(&self, name: &[u8]) -> Option<&Facts> {
        Some(&self.entries[self.place(name)?].1)
    }
}

#[derive(Clone, Debug)]
enum State {
    Coming(Rc<Notify>),
    Here(Rc<Listing>),
}

#[derive(Debug)]
pub(super) struct Listings {
    session: Session,
    root: &'static str,
    known: RefCell<HashMap<Vec<u8>, State>>,
    kept: Cell<usize>,
    ahead: Cell<usize>,
    /// Somebody has asked for extended attributes. Most programs do not, and they take a tenth of the time.
    wants_attributes: Cell<bool>,
    /// None is ever asked for: these are all.
    is_complete: bool,
}

/// The directory that a file is in, and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub(super) fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/", name].concat()
}

/// Whether the kernel takes it as one name.
pub(super) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= MAX_NAME
        && !name.contains(&b'/')
        && !name.contains(&0)
}

impl Listings {
    /// Of the directory `root` of the guest.
    pub fn new(session: Session, root: &'static str) -> Self {
        Self {
            session,
            root,
            known: RefCell::default(),
            kept: Cell::new(0),
            ahead: Cell::new(0),
            wants_attributes: Cell::new(false),
            is_complete: false,
        }
    }

    /// These and no others.
    pub fn of(session: Session, root: &'static str, known: Vec<(Vec<u8>, Listing)>) -> Self {
        let known = known.into_iter();
        let known = known.map(|(path, listing)| (path, State::Here(Rc::new(listing))));
        Self {
            known: RefCell::new(known.collect()),
            is_complete: true,
            ..Self::new(session, root)
        }
    }

    /// Whether nothing but what is known exists.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// A directory, if it is known.
    pub fn known(&self, path: &[u8]) -> Option<Rc<Listing>> {
        match self.known.borrow().get(path) {
            Some(State::Here(listing)) => Some(Rc::clone(listing)),
            _ => None,
        }
    }

    /// A directory, which a program reads.
    pub async fn get(&self, path: &[u8]) -> Result<Rc<Listing>, SessionError> {
        loop {
            let state = self.known.borrow().get(path).cloned();
            match state {
                Some(State::Here(listing)) if !self.is_outdated(&listing) => return Ok(listing),
                Some(State::Coming(notify)) => notify.notified().await,
                _ => return self.fetch(path).await,
            }
        }
    }

    /// A directory with the attributes of its entries, if it was listed. From now on all come with them.
    pub async fn with_attributes(&self, path: &[u8]) -> Result<Option<Rc<Listing>>, SessionError> {
        self.wants_attributes.set(true);
        if !self.known.borrow().contains_key(path) {
            return Ok(None);
        }
        self.get(path).await.map(Some)
    }

    fn is_outdated(&self, listing: &Listing) -> bool {
        listing.lacks_attributes && self.wants_attributes.get()
    }

    async fn fetch(&self, path: &[u8]) -> Result<Rc<Listing>, SessionError> {
        let (parent, name) = split(path);
        let siblings = self.known(parent).filter(|_| !path.is_empty());
        self.ahead.set(match siblings {
            Some(_) => (self.ahead.get() * 4).clamp(FEWEST_AHEAD, MOST_AHEAD),
            None => 0,
        });
        let mut wanted = vec![ByteString(path.to_vec())];
        if let Some(siblings) = siblings {
            let first = siblings.place(name).map_or(0, |place| place + 1);
            let next = siblings.entries[first..].iter();
            let next = next.filter(|(_, facts)| facts.stat.kind == FileKind::Directory);
            let next = next.map(|(name, _)| ByteString(joined(parent, name)));
            let known = self.known.borrow();
            let is_unknown = |path: &ByteString| match known.get(&path.0) {
                Some(State::Here(listing)) => self.is_outdated(listing),
                Some(State::Coming(_)) => false,
                None => true,
            };
            let unknown = next.filter(is_unknown);
            wanted.extend(unknown.take(MAX_DIRECTORIES));
        }
        if self.kept.get() > MAX_KEPT && !self.is_complete {
            self.kept.set(0);
            let mut known = self.known.borrow_mut();
            known.retain(|_, state| matches!(state, State::Coming(_)));
        }
        let notify = Rc::new(Notify::new());
        let coming = State::Coming(Rc::clone(&notify));
        self.known.borrow_mut().insert(path.to_vec(), coming);
        let received = self.receive(path, wanted).await;
        let mut known = self.known.borrow_mut();
        if let Some(State::Coming(_)) = known.get(path) {
            known.remove(path);
        }
        notify.notify_waiters();
        received
    }

    /// Receives what `ahead` allows. The first of the directories is the result.
    async fn receive(
        &self,
        path: &[u8],
        wanted: Vec<ByteString>,
    ) -> Result<Rc<Listing>, SessionError> {
        let limit = self.ahead.get();
        let attributes = self.wants_attributes.get();
        let listed = self.session.list_tree(self.root, wanted, limit, attributes);
        let mut records = listed.await?;
        let mut first = None;
        let (mut directory, mut entries, mut weight) = (Vec::new(), Vec::new(), 0);
        let mut is_partial = false;
        while let Some(record) = records.next().await? {
            if weight > MAX_DIRECTORY {
                return Err(too_large());
            }
            match record {
                TreeRecord::Directory(path) => {
                    directory = path.0;
                    weight += directory.len() + size_of::<Listing>();
                }
                TreeRecord::Entry(entry, found) => {
                    let found = found.filter(|_| attributes);
                    weight += entry.weight() + size_of::<Entry>();
                    weight += found.as_ref().map_or(0, weight_of);
                    let Entry {
                        path,
                        stat,
                        link,
                        error,
                    } = entry;
                    if let Some(error) = error {
                        let path = ByteString(joined(&directory, &path.0));
                        tracing::warn!("{path} cannot be read: {error}");
                        is_partial = true;
                    }
                    if let (true, Some(stat)) = (is_name(&path.0), stat) {
                        let facts = Facts {
                            stat,
                            link: link.map(|link| link.0),
                            attributes: found.map(Rc::new),
                        };
                        entries.push((path.0, facts));
                    }
                }
                TreeRecord::End(error) => {
                    let mut listing = Listing::new(std::mem::take(&mut entries));
                    listing.is_partial = std::mem::take(&mut is_partial);
                    listing.lacks_attributes = !attributes;
                    let result = match error {
                        Some(error) => Err(SessionError::Refused(error)),
                        None => Ok(Rc::new(listing)),
                    };
                    if let Ok(listing) = &result {
                        self.keep(&directory, Rc::clone(listing));
                    }
                    if directory == path {
                        first = Some(result);
                    }
                }
            }
        }
        first.unwrap_or(Err(SessionError::Closed))
    }

    fn keep(&self, path: &[u8], listing: Rc<Listing>) {
        self.kept.set(self.kept.get() + listing.entries.len() + 1);
        let here = State::Here(listing);
        match self.known.borrow_mut().insert(path.to_vec(), here) {
            Some(State::Coming(notify)) => notify.notify_waiters(),
            Some(State::Here(before)) => {
                let kept = self.kept.get();
                self.kept.set(kept.saturating_sub(before.entries.len() + 1));
            }
            None => {}
        }
    }
}

fn too_large() -> SessionError {
    let error = nix::errno::Errno::EFBIG;
    let stage = crate::protocol::ErrorStage::File;
    SessionError::Refused(RemoteError::of(stage, "the directory", error))
}
