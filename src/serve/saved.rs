//! The checkpoints of a session, by their ids.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::machine::Saved;
use crate::rpc::{ErrorKind, RpcError};

#[derive(Default)]
pub(super) struct Checkpoints {
    saved: RefCell<BTreeMap<String, Saved>>,
    last: Cell<u32>,
}

impl Checkpoints {
    /// Adds one, and returns its id.
    pub fn add(&self, saved: Saved) -> String {
        let number = self.last.get() + 1;
        self.last.set(number);
        let id = format!("c{number}");
        self.saved.borrow_mut().insert(id.clone(), saved);
        id
    }

    pub fn find(&self, id: &str) -> Result<Saved, RpcError> {
        let found = self.saved.borrow().get(id).cloned();
        found.ok_or_else(|| unknown(id))
    }

    pub fn remove(&self, id: &str) -> Result<(), RpcError> {
        let removed = self.saved.borrow_mut().remove(id);
        removed.map(drop).ok_or_else(|| unknown(id))
    }
}

fn unknown(id: &str) -> RpcError {
    let short: String = id.chars().take(100).collect();
    let why = format!("there is no checkpoint {short:?}");
    RpcError::new(ErrorKind::Unknown, why).hint("the id is in the result of checkpoint")
}
