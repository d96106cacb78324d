//! The directories of the image that are known. A walk through the tree gets many at a time: those that it
//! will come to next.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::listing::{Listing, joined, split};
use super::listing_stream::{ListingResult, ListingStream};
use crate::protocol::{ByteString, FileKind, TreeDetail};
use crate::session::{Session, SessionError};

/// How many entries are asked for at a time, once directories are read one after the other.
const FEWEST_AHEAD: usize = 100;
const MOST_AHEAD: usize = 6400;

/// How many directories are named in a request.
const MAX_DIRECTORIES: usize = 200;

/// How many requests are open at a time: each may bring a large directory.
const MOST_STREAMS: usize = 4;

/// How many entries are kept. When there are more, all but the latest are asked for again.
const MAX_KEPT: usize = 200_000;

/// After so many entries of which more was wanted than their names, all are listed with it.
const MANY_ASKED: u32 = 3;

#[derive(Debug)]
pub(super) struct Listings {
    session: Session,
    root: &'static str,
    known: RefCell<HashMap<Vec<u8>, Rc<Listing>>>,
    /// Those that come at present.
    streams: RefCell<Vec<Rc<ListingStream>>>,
    kept: Cell<usize>,
    ahead: Cell<usize>,
    /// How much is asked of each entry: what programs have asked for so far. Files' inodes take a third of the time
    /// of a walk, their attributes a tenth.
    detail: Cell<TreeDetail>,
    /// How often more was wanted of an entry than its directory tells.
    asked: Cell<u32>,
    /// None is ever asked for: these are all.
    is_complete: bool,
}

impl Listings {
    /// Of the directory `root` of the guest.
    pub fn new(session: Session, root: &'static str) -> Self {
        Self {
            session,
            root,
            known: RefCell::default(),
            streams: RefCell::default(),
            kept: Cell::new(0),
            ahead: Cell::new(0),
            detail: Cell::new(TreeDetail::Names),
            asked: Cell::new(0),
            is_complete: false,
        }
    }

    /// These and no others.
    pub fn of(session: Session, root: &'static str, known: Vec<(Vec<u8>, Listing)>) -> Self {
        let known = known.into_iter();
        let known = known.map(|(path, listing)| (path, Rc::new(listing)));
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
        self.known.borrow().get(path).cloned()
    }

    /// A directory, which a program reads.
    pub async fn get(self: &Rc<Self>, path: &[u8]) -> ListingResult {
        loop {
            let known = self.known(path);
            if let Some(listing) = known.filter(|listing| !self.is_outdated(listing)) {
                return Ok(listing);
            }
            let coming = self.coming(path);
            match coming {
                Some(stream) => stream.changed().await,
                None if self.streams.borrow().len() >= MOST_STREAMS => self.any_changed().await,
                None => {
                    let first = self.start(path).await;
                    return first.unwrap_or(Err(SessionError::Closed));
                }
            }
        }
    }

    async fn any_changed(&self) {
        let stream = self.streams.borrow().first().cloned();
        if let Some(stream) = stream {
            stream.changed().await;
        }
    }

    fn coming(&self, path: &[u8]) -> Option<Rc<ListingStream>> {
        let streams = self.streams.borrow();
        let mut with_all = streams
            .iter()
            .filter(|stream| stream.detail >= self.detail.get());
        with_all.find(|stream| stream.may_bring(path)).cloned()
    }

    /// A directory with the attributes of its entries, if it was listed. From now on all come with them.
    pub async fn with_attributes(
        self: &Rc<Self>,
        path: &[u8],
    ) -> Result<Option<Rc<Listing>>, SessionError> {
        self.detail.set(TreeDetail::Attributes);
        if !self.known.borrow().contains_key(path) {
            return Ok(None);
        }
        self.get(path).await.map(Some)
    }

    /// A directory with the facts of its entries, unless these are the first few that anybody asks for. From then
    /// on all come with them.
    pub async fn with_facts(
        self: &Rc<Self>,
        path: &[u8],
    ) -> Result<Option<Rc<Listing>>, SessionError> {
        self.asked.set(self.asked.get().saturating_add(1));
        if self.asked.get() >= MANY_ASKED {
            self.detail.set(self.detail.get().max(TreeDetail::Stats));
        }
        match self.detail.get() {
            TreeDetail::Names => Ok(None),
            _ => self.get(path).await.map(Some),
        }
    }

    fn is_outdated(&self, listing: &Listing) -> bool {
        listing.detail < self.detail.get()
    }

    /// Asks for a directory, and for as many as `ahead` allows. Where the first arrives.
    fn start(self: &Rc<Self>, path: &[u8]) -> oneshot::Receiver<ListingResult> {
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
            let next = next.filter(|(_, known)| known.kind() == FileKind::Directory);
            let next = next.map(|(name, _)| ByteString(joined(parent, name)));
            let known = self.known.borrow();
            let is_unknown = |path: &ByteString| {
                let known = known.get(&path.0);
                known.is_none_or(|listing| self.is_outdated(listing))
                    && self.coming(&path.0).is_none()
            };
            let unknown = next.filter(is_unknown);
            wanted.extend(unknown.take(MAX_DIRECTORIES));
        }
        if self.kept.get() > MAX_KEPT && !self.is_complete {
            self.kept.set(0);
            self.known.borrow_mut().clear();
        }
        let (stream, first) = ListingStream::new(wanted, self.ahead.get(), self.detail.get());
        let (stream, listings) = (Rc::new(stream), Rc::clone(self));
        self.streams.borrow_mut().push(Rc::clone(&stream));
        tokio::task::spawn_local(async move {
            let keep = |path: &[u8], listing| listings.keep(path, listing);
            stream.receive(&listings.session, listings.root, keep).await;
            let mut streams = listings.streams.borrow_mut();
            streams.retain(|other| !Rc::ptr_eq(other, &stream));
        });
        first
    }

    fn keep(&self, path: &[u8], listing: Rc<Listing>) {
        let known = self.known(path);
        if known.is_some_and(|known| known.detail > listing.detail) {
            return;
        }
        self.kept.set(self.kept.get() + listing.entries.len() + 1);
        let before = self.known.borrow_mut().insert(path.to_vec(), listing);
        if let Some(before) = before {
            let kept = self.kept.get();
            self.kept.set(kept.saturating_sub(before.entries.len() + 1));
        }
    }
}
