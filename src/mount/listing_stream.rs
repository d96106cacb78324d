//! A request for directories, whose answers come one after the other: each can be used while the guest reads the
//! next ones.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::{Notify, oneshot};

use super::listing::{Listing, is_name, joined};
use super::nodes::{Facts, Known};
use crate::protocol::{
    ByteString, Entry, ErrorStage, RemoteError, TreeDetail, TreeRecord, weight_of,
};
use crate::session::{Session, SessionError};

/// The largest directory, in bytes of names and targets of links.
const MAX_DIRECTORY: usize = 256 << 20;

/// What became of a directory.
pub(super) type ListingResult = Result<Rc<Listing>, SessionError>;

#[derive(Debug)]
pub(super) struct ListingStream {
    /// Those that are named in the request.
    directories: Vec<ByteString>,
    /// How many entries are enough: directories below those that are named come until then.
    limit: usize,
    pub detail: TreeDetail,
    /// For the first of the directories, until it has come.
    first: RefCell<Option<oneshot::Sender<ListingResult>>>,
    changed: Notify,
}

impl ListingStream {
    /// And where the first of the directories arrives.
    pub fn new(
        directories: Vec<ByteString>,
        limit: usize,
        detail: TreeDetail,
    ) -> (Self, oneshot::Receiver<ListingResult>) {
        let (first, arrives) = oneshot::channel();
        let stream = Self {
            directories,
            limit,
            detail,
            first: Some(first).into(),
            changed: Notify::new(),
        };
        (stream, arrives)
    }

    /// Whether a directory may be among those that come.
    pub fn may_bring(&self, path: &[u8]) -> bool {
        self.directories
            .iter()
            .any(|top| match path.strip_prefix(&top.0[..]) {
                Some([]) => true,
                Some([b'/', ..]) => self.limit > 0,
                _ => false,
            })
    }

    /// Waits until another directory has come, or all have.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Receives them; `keep` has each with its path.
    pub async fn receive(
        &self,
        session: &Session,
        root: &str,
        keep: impl FnMut(&[u8], Rc<Listing>),
    ) {
        let received = self.receive_all(session, root, keep).await;
        let first = self.first.take();
        match (received, first) {
            (Err(error), Some(first)) => drop(first.send(Err(error))),
            (Err(error), None) => tracing::debug!("listing directories: {error}"),
            (Ok(()), _) => {}
        }
        self.changed.notify_waiters();
    }

    async fn receive_all(
        &self,
        session: &Session,
        root: &str,
        mut keep: impl FnMut(&[u8], Rc<Listing>),
    ) -> Result<(), SessionError> {
        let directories = self.directories.clone();
        let listed = session.list_tree(root, directories, self.limit, self.detail);
        let mut records = listed.await?;
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
                TreeRecord::Name { name, kind, inode } => {
                    weight += name.0.len() + size_of::<Entry>();
                    if is_name(&name.0) {
                        entries.push((name.0, Known::Name { kind, inode }));
                    }
                }
                TreeRecord::Entry(entry, found) => {
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
                        entries.push((path.0, Known::Facts(facts)));
                    }
                }
                TreeRecord::End(error) => {
                    let mut listing = Listing::new(std::mem::take(&mut entries), self.detail);
                    listing.is_partial = std::mem::take(&mut is_partial);
                    let listed = match error {
                        Some(error) => Err(SessionError::Refused(error)),
                        None => Ok(Rc::new(listing)),
                    };
                    if let Ok(listing) = &listed {
                        keep(&directory, Rc::clone(listing));
                    }
                    if self.directories[0].0 == directory
                        && let Some(first) = self.first.take()
                    {
                        let _ = first.send(listed);
                    }
                    self.changed.notify_waiters();
                }
            }
        }
        Ok(())
    }
}

fn too_large() -> SessionError {
    let error = nix::errno::Errno::EFBIG;
    SessionError::Refused(RemoteError::of(ErrorStage::File, "the directory", error))
}
