//! What the requests of a session share: its machines, the commands that run, and the way out.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;

use super::client::Client;
use super::handle::Handle;
use super::running_commands::RunningCommands;
use super::saved::Checkpoints;
use crate::rpc::{ErrorKind, Id, MAX_OPEN, Message, RpcError};

/// How many machines that have ended are remembered.
const MAX_ENDED: usize = 256;

/// How long the end of the session waits for each of answers, machines and the reader of the output.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) struct Hub {
    pub client: Rc<Client>,
    machines: RefCell<BTreeMap<u32, Rc<Handle>>>,
    last_machine: Cell<u32>,
    pub commands: RunningCommands,
    pub checkpoints: Checkpoints,
    open: RefCell<BTreeSet<Id>>,
    /// Requests that are being served, also those without an id.
    serving: Cell<usize>,
    served: Notify,
}

impl Hub {
    pub fn new(client: Client) -> Rc<Self> {
        Rc::new(Self {
            client: Rc::new(client),
            machines: RefCell::default(),
            last_machine: Cell::new(0),
            commands: RunningCommands::default(),
            checkpoints: Checkpoints::default(),
            open: RefCell::default(),
            serving: Cell::new(0),
            served: Notify::new(),
        })
    }

    /// Adds a machine, which gets the next id.
    pub fn add_machine(&self, handle: impl FnOnce(String) -> Handle) -> Rc<Handle> {
        let number = self.last_machine.get() + 1;
        self.last_machine.set(number);
        let handle = Rc::new(handle(format!("m{number}")));
        let mut machines = self.machines.borrow_mut();
        let ended = machines.iter().filter(|(_, handle)| handle.has_ended());
        let ended: Vec<u32> = ended.map(|(number, _)| *number).collect();
        if ended.len() >= MAX_ENDED {
            machines.remove(&ended[0]);
        }
        machines.insert(number, Rc::clone(&handle));
        handle
    }

    /// The machine of this id, or the first.
    pub fn machine(&self, id: Option<&str>) -> Result<Rc<Handle>, RpcError> {
        let id = id.unwrap_or("m1");
        let machines = self.machines.borrow();
        let mut found = machines.values().filter(|handle| handle.id == id);
        found.next().cloned().ok_or_else(|| {
            let short: String = id.chars().take(100).collect();
            RpcError::new(ErrorKind::Unknown, format!("there is no machine {short:?}"))
        })
    }

    /// Begins to serve a request.
    pub fn begin(&self, id: Option<&Id>) -> Result<(), RpcError> {
        if self.serving.get() >= MAX_OPEN {
            let why = format!("{MAX_OPEN} requests are open already");
            return Err(RpcError::new(ErrorKind::Limit, why).hint("wait for one of them to end"));
        }
        if let Some(id) = id
            && !self.open.borrow_mut().insert(id.clone())
        {
            let why = "a request with this id is open already";
            return Err(RpcError::new(ErrorKind::InvalidRequest, why));
        }
        self.serving.set(self.serving.get() + 1);
        Ok(())
    }

    /// Ends a request that was begun, with its answer if it has an id.
    pub async fn finish(&self, id: Option<Id>, result: Result<Value, RpcError>) {
        if let Some(id) = id {
            self.open.borrow_mut().remove(&id);
            self.client.send(&Message::answer(id, result)).await;
        }
        self.serving.set(self.serving.get() - 1);
        self.served.notify_waiters();
    }

    /// Waits until no request is open.
    pub async fn all_served(&self) {
        while self.serving.get() > 0 {
            self.served.notified().await;
        }
    }

    /// Ends every machine at once.
    pub async fn stop_all(&self) {
        let machines: Vec<_> = self.machines.borrow().values().cloned().collect();
        for machine in &machines {
            machine.stop();
        }
        for machine in &machines {
            let _ = tokio::time::timeout(LAST_WORDS, machine.ended()).await;
        }
    }
}
