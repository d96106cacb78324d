//! The commands that run in the guests of a session, by the ids of their requests, so that other
//! requests reach them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::rpc::{ErrorKind, Id, RpcError};
use crate::session::{ExecControl, StreamWriter};

type Stdin = Option<StreamWriter>;

#[derive(Clone)]
struct Entry {
    /// Locked until the command has started, so that writes come in the order of their requests.
    stdin: Arc<Mutex<Stdin>>,
    control: watch::Receiver<Option<ExecControl>>,
}

#[derive(Default)]
pub(super) struct RunningCommands(RefCell<BTreeMap<Id, Entry>>);

/// The place of a command that is about to start.
pub(super) struct Slot {
    pub stdin: OwnedMutexGuard<Stdin>,
    /// Dropped when the command is over.
    pub control: watch::Sender<Option<ExecControl>>,
}

impl RunningCommands {
    /// Adds the command of a request; without an id nothing can reach it.
    pub fn add(&self, id: Option<&Id>) -> Option<Slot> {
        let stdin = Arc::new(Mutex::new(None));
        let (control, receiver) = watch::channel(None);
        let slot = Slot {
            stdin: Arc::clone(&stdin).try_lock_owned().ok()?,
            control,
        };
        if let Some(id) = id {
            let control = receiver;
            self.0
                .borrow_mut()
                .insert(id.clone(), Entry { stdin, control });
        }
        Some(slot)
    }

    pub fn remove(&self, id: &Id) {
        self.0.borrow_mut().remove(id);
    }

    fn find(&self, id: &Id) -> Result<Entry, RpcError> {
        let found = self.0.borrow().get(id).cloned();
        found.ok_or_else(|| {
            RpcError::new(ErrorKind::Unknown, "no command of this id runs")
                .hint("exec is the id of an exec request that is open")
        })
    }

    /// The standard input of a command, once it has started and earlier writes are done. None if
    /// there is none, or it was closed.
    pub async fn stdin(&self, id: &Id) -> Result<OwnedMutexGuard<Stdin>, RpcError> {
        let entry = self.find(id)?;
        Ok(entry.stdin.lock_owned().await)
    }

    /// What reaches a command, once it has started.
    pub async fn control(&self, id: &Id) -> Result<ExecControl, RpcError> {
        let mut entry = self.find(id)?;
        let started = entry.control.wait_for(Option::is_some).await;
        let control = started.ok().and_then(|control| control.clone());
        control.ok_or_else(|| RpcError::new(ErrorKind::Unknown, "the command did not start"))
    }
}
