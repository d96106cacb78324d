//! `bivouac mcp`: the machines of a session as tools of the Model Context Protocol
//! (modelcontextprotocol.io), over standard input and output.
//!
//! A layer over the rest of [`crate::serve`], and not the protocol's SDK for Rust: that one wants
//! futures that may move between threads, and this program's runtime has one ([`messages`] is all there
//! is of the protocol). [`tools`] has the tools and their arguments, [`calls`] does them by requests of
//! the session's protocol, [`results`] is what a client gets of it. [`options`] is what was typed,
//! [`allowed`] which images a client may use.

mod allowed;
mod calls;
mod messages;
mod options;
mod results;
mod tools;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::client::Client;
use super::handle::Handle;
use super::hub::{Hub, LAST_WORDS};
use super::lines::Lines;
use crate::exit::Status;
use crate::launch::supervisor::{Stopped, Supervisor};
use crate::launch::{Failure, Progress, block_on};
use crate::machine::stdio::{self, OutputMode};
use crate::rpc::{ErrorKind, Id, RpcError};
use allowed::Allowed;
pub use options::Args;

/// How many machines that have ended are shown.
const MAX_ENDED: usize = 64;

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, progress: &dyn Progress) -> Result<Status, Failure> {
    let allowed = Allowed::new(&args.image)?;
    block_on(serve(args, allowed, progress))
}

/// Serves a client until the end of standard input, a signal or the timeout.
async fn serve(args: &Args, allowed: Allowed, progress: &dyn Progress) -> Result<Status, Failure> {
    // Before there is a thread, which would inherit the blocked signals.
    let mut supervisor = Supervisor::new(args.limits.timeout)?;
    let (output, mut written) =
        stdio::output(OutputMode::Text).context("starting a thread for the output")?;
    let input = stdio::input().context("starting a thread for the input")?;
    let state = State::new(args, allowed, Client::new(output));
    let work = Box::pin(async {
        tokio::select! {
            biased;
            () = serve_all(&state, input) => {}
            () = state.client.gone() => {}
        }
    });
    let done = supervisor.guard(work).await;
    progress.clear_status();
    state.hub.stop_all().await;
    state.client.close();
    let _ = timeout(LAST_WORDS, &mut written).await;
    Ok(match done {
        Ok(()) => Status::Success,
        Err(Stopped(end)) => end.status(),
    })
}

/// Reads messages until the end of standard input, and serves any number at a time. Machines that are
/// being started then are dropped, and with them their QEMU.
async fn serve_all(state: &State<'_>, mut input: mpsc::Receiver<Vec<u8>>) {
    let (mut lines, mut open) = (Lines::default(), FuturesUnordered::new());
    loop {
        tokio::select! {
            bytes = input.recv() => {
                let Some(bytes) = bytes else { return };
                lines.take(&bytes, |line| open.extend(messages::begin(state, line)));
            }
            Some(()) = open.next(), if !open.is_empty() => {}
        }
    }
}

/// What the requests of a client share.
struct State<'a> {
    args: &'a Args,
    allowed: Allowed,
    client: Client,
    hub: Rc<Hub>,
    is_initialized: Cell<bool>,
    /// What cancels each tool that runs.
    open: RefCell<BTreeMap<Id, Rc<Notify>>>,
    /// The machines, and the image or checkpoint of each.
    machines: RefCell<Vec<(Rc<Handle>, String)>>,
    /// The checkpoints, and the machine of each.
    checkpoints: RefCell<BTreeMap<String, String>>,
    starting: Cell<usize>,
    saving: Cell<usize>,
}

impl<'a> State<'a> {
    fn new(args: &'a Args, allowed: Allowed, client: Client) -> Self {
        // The notifications of the session's protocol are none of this one.
        let (nowhere, _) = mpsc::channel(1);
        Self {
            args,
            allowed,
            client,
            hub: Hub::new(Client::new(nowhere)),
            is_initialized: Cell::new(false),
            open: RefCell::default(),
            machines: RefCell::default(),
            checkpoints: RefCell::default(),
            starting: Cell::new(0),
            saving: Cell::new(0),
        }
    }

    /// Adds a machine that runs.
    fn add(&self, handle: &Rc<Handle>, origin: &str) {
        let mut machines = self.machines.borrow_mut();
        machines.push((Rc::clone(handle), origin.to_owned()));
        let mut ended = machines.iter().filter(|(handle, _)| handle.has_ended());
        if ended.by_ref().count() > MAX_ENDED
            && let Some(first) = machines.iter().position(|(handle, _)| handle.has_ended())
        {
            machines.remove(first);
        }
    }

    /// A place for a machine that starts, unless there are too many.
    fn place(&self) -> Result<Place<'_>, RpcError> {
        let machines = self.machines.borrow();
        let running = machines.iter().filter(|(handle, _)| !handle.has_ended());
        let (used, most) = (running.count(), self.args.limits.max_machines);
        Place::take(&self.starting, used, most)
            .ok_or_else(|| full(&format!("{most} machines run already"), "stop one of them"))
    }

    /// A place for a checkpoint that is made, unless there are too many.
    fn place_for_checkpoint(&self) -> Result<Place<'_>, RpcError> {
        let (used, most) = (
            self.checkpoints.borrow().len(),
            self.args.limits.max_checkpoints,
        );
        Place::take(&self.saving, used, most).ok_or_else(|| {
            full(
                &format!("there are {most} checkpoints already"),
                "release one",
            )
        })
    }
}

fn full(why: &str, hint: &str) -> RpcError {
    RpcError::new(ErrorKind::Limit, why).hint(hint)
}

/// One of so many that are being made.
struct Place<'a>(&'a Cell<usize>);

impl<'a> Place<'a> {
    /// None if with those that are `used` there are `most`.
    fn take(making: &'a Cell<usize>, used: usize, most: u32) -> Option<Self> {
        if used + making.get() >= most as usize {
            return None;
        }
        making.set(making.get() + 1);
        Some(Self(making))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
