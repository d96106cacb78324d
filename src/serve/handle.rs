//! A machine of a session: one task owns it until its end, and requests reach its agent through a
//! [`Handle`].

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};

use super::client::Client;
use super::errors;
use super::machine::{HowEnded, Saved, SessionMachine};
use crate::commands::diff::DiffOptions;
use crate::launch::keep::{KeepSpec, Kept};
use crate::launch::{BranchSpec, Failure};
use crate::machine::MachineEvent;
use crate::machine::console::Tail;
use crate::rpc::changes::DiffResult;
use crate::rpc::machines::{EndReason, MachineEnded, MachineReady, MachineRebooted, PhaseTimes};
use crate::rpc::{self, ErrorKind, RpcError};
use crate::session::{Session, SessionError};

/// How long after its agent's end a machine's own end may follow.
const END_FOLLOWS: Duration = Duration::from_secs(1);

/// Whether requests can be served.
#[derive(Clone)]
enum Agent {
    /// The guest boots.
    Waiting,
    Ready(Session),
    Ended(RpcError),
}

/// What only the owner of a machine can do.
pub(super) enum Order {
    Checkpoint {
        sync: bool,
        reply: oneshot::Sender<Result<(Saved, PhaseTimes), Failure>>,
    },
    Diff {
        options: DiffOptions,
        limit: usize,
        reply: oneshot::Sender<Result<DiffResult, Failure>>,
    },
    Keep {
        spec: KeepSpec,
        reply: oneshot::Sender<Result<Vec<Kept>, Failure>>,
    },
    Save {
        name: String,
        reply: oneshot::Sender<Result<(String, PhaseTimes), Failure>>,
    },
    Revert {
        to: Saved,
        spec: BranchSpec,
        reply: oneshot::Sender<Result<PhaseTimes, Failure>>,
    },
}

/// A machine as requests see it.
pub(super) struct Handle {
    pub id: String,
    /// Where paths of requests begin, in the guest.
    pub root: &'static str,
    agent: watch::Sender<Agent>,
    console: RefCell<Rc<RefCell<Tail>>>,
    stop: Notify,
    orders: mpsc::UnboundedSender<Order>,
    /// For the task that owns the machine.
    ordered: Mutex<mpsc::UnboundedReceiver<Order>>,
}

impl Handle {
    pub fn new(id: String, root: &'static str) -> Self {
        // As many orders wait as requests are open.
        let (orders, ordered) = mpsc::unbounded_channel();
        Self {
            orders,
            ordered: Mutex::new(ordered),
            id,
            root,
            agent: watch::Sender::new(Agent::Waiting),
            console: RefCell::default(),
            stop: Notify::new(),
        }
    }

    /// Whether this is an image in an appliance.
    pub fn is_inspected(&self) -> bool {
        self.root != "/"
    }

    /// The session with the agent, once it answers.
    pub async fn session(&self) -> Result<Session, RpcError> {
        let mut agent = self.agent.subscribe();
        let known = agent.wait_for(|agent| !matches!(agent, Agent::Waiting));
        match known.await.as_deref() {
            Ok(Agent::Ready(session)) => Ok(session.clone()),
            Ok(Agent::Ended(error)) => Err(error.clone()),
            Ok(Agent::Waiting) | Err(_) => Err(RpcError::new(ErrorKind::Internal, "no machine")),
        }
    }

    /// The error of a request: the machine's own end, if it follows, says more than that its agent no
    /// longer answers.
    pub async fn explain(&self, error: SessionError) -> RpcError {
        let error = errors::of_session(&error);
        if error.kind() == ErrorKind::MachineEnded
            && tokio::time::timeout(END_FOLLOWS, self.ended())
                .await
                .is_ok()
            && let Agent::Ended(error) = &*self.agent.borrow()
        {
            return error.clone();
        }
        error
    }

    /// Passes an order on to the owner of the machine, who does it to its end even if the request is
    /// given up.
    pub async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, RpcError> {
        // Fails if the machine does not even start, or has ended.
        self.session().await?;
        let (reply, answered) = oneshot::channel();
        let _ = self.orders.send(order(reply));
        tokio::select! {
            biased;
            answer = answered => match answer {
                Ok(answer) => Ok(answer),
                Err(_) => Err(self.end_error().await),
            },
            () = self.ended() => Err(self.end_error().await),
        }
    }

    /// The error of requests for a machine that has ended, or is about to.
    async fn end_error(&self) -> RpcError {
        self.explain(SessionError::Closed).await
    }

    /// The last lines on the machine's console; none before it is ready for the first time.
    pub fn console(&self) -> Vec<String> {
        self.console.borrow().borrow().lines()
    }

    /// Has the machine ended.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// Waits until that was asked for.
    pub async fn stopped(&self) {
        self.stop.notified().await;
    }

    /// Waits for the machine's end.
    pub async fn ended(&self) {
        let mut agent = self.agent.subscribe();
        let _ = agent
            .wait_for(|agent| matches!(agent, Agent::Ended(_)))
            .await;
    }

    /// Its machine is no longer started.
    pub fn give_up(&self) {
        let error = RpcError::new(ErrorKind::MachineEnded, "its start was given up");
        self.agent.send_replace(Agent::Ended(error));
    }

    pub fn has_ended(&self) -> bool {
        matches!(&*self.agent.borrow(), Agent::Ended(_))
    }

    /// From here on requests are served.
    pub async fn ready(&self, client: &Client, session: Session) {
        self.agent.send_replace(Agent::Ready(session));
        let told = MachineReady {
            machine: self.id.clone(),
            protocol: rpc::VERSION,
            version: env!("CARGO_PKG_VERSION"),
        };
        client.notify(&told).await;
    }

    /// The machine has ended: every request gets to know how.
    pub async fn end(&self, client: &Client, how: &HowEnded) {
        let (reason, message, hint) = how.describe();
        let mut error = RpcError::new(ErrorKind::MachineEnded, message.clone());
        error.data.hint.clone_from(&hint);
        self.agent.send_replace(Agent::Ended(error));
        let told = MachineEnded {
            machine: self.id.clone(),
            reason,
            message,
            hint,
        };
        client.notify(&told).await;
    }
}

/// Owns a machine that runs until its end, or until it is stopped.
pub(super) async fn hold(client: Rc<Client>, handle: Rc<Handle>, mut machine: SessionMachine) {
    handle.console.replace(machine.machine().console());
    handle.ready(&client, machine.session().clone()).await;
    let how = tokio::select! {
        biased;
        () = handle.stopped() => HowEnded::Stopped,
        how = Box::pin(until_its_end(&client, &handle, &mut machine)) => how,
    };
    // QEMU is reaped before anybody gets to know.
    if let Err(error) = machine.machine().stop(Duration::ZERO).await {
        tracing::warn!("ending QEMU: {error}");
    }
    handle.end(&client, &how).await;
}

async fn until_its_end(client: &Client, handle: &Handle, machine: &mut SessionMachine) -> HowEnded {
    let mut orders = handle.ordered.lock().await;
    loop {
        let session = machine.session().clone();
        let event = tokio::select! {
            biased;
            event = machine.machine().next() => event,
            reason = session.ended() => return lost(machine, reason).await,
            Some(order) = orders.recv() => {
                Box::pin(obey(handle, machine, order)).await;
                continue;
            }
        };
        let ended = match event {
            Ok(MachineEvent::Console(_)) => continue,
            Ok(MachineEvent::Reset) => false,
            Ok(MachineEvent::Ended(end)) if machine.boots_after(&end) => true,
            Ok(MachineEvent::Ended(end)) => return machine.ended_by(end),
            Err(error) => return HowEnded::Failed(anyhow::Error::from(error).into()),
        };
        handle.agent.send_replace(Agent::Waiting);
        let rebooting = async {
            let machine = handle.id.clone();
            client.notify(&MachineRebooted { machine }).await;
        };
        let ((), rebooted) = tokio::join!(rebooting, Box::pin(machine.reboot(ended)));
        match rebooted {
            Ok(()) => handle.ready(client, machine.session().clone()).await,
            Err(how) => return how,
        }
    }
}

async fn obey(handle: &Handle, machine: &mut SessionMachine, order: Order) {
    match order {
        Order::Checkpoint { sync, reply } => {
            let saved = match machine.guest() {
                Ok(guest) => Box::pin(guest.checkpoint(sync)).await,
                Err(failure) => Err(failure),
            };
            // Nobody may wait for it any more.
            let _ = reply.send(saved.map(|saved| (saved, machine.phases())));
        }
        Order::Diff {
            options,
            limit,
            reply,
        } => {
            let compared = match machine.guest() {
                Ok(guest) => Box::pin(guest.diff(options, limit)).await,
                Err(failure) => Err(failure),
            };
            let _ = reply.send(compared);
        }
        Order::Keep { spec, reply } => {
            let kept = match machine.guest() {
                Ok(guest) => Box::pin(guest.keep(&spec)).await,
                Err(failure) => Err(failure),
            };
            let _ = reply.send(kept);
        }
        Order::Save { name, reply } => {
            let saved = match machine.guest() {
                Ok(guest) => Box::pin(guest.save(&name)).await,
                Err(failure) => Err(failure),
            };
            let _ = reply.send(saved.map(|saved| (saved, machine.phases())));
        }
        Order::Revert { to, spec, reply } => {
            let reverted = match machine.guest() {
                Ok(guest) => Box::pin(guest.revert(&to, spec)).await,
                Err(failure) => Err(failure),
            };
            let session = machine.session().clone();
            handle.console.replace(machine.machine().console());
            handle.agent.send_replace(Agent::Ready(session));
            let _ = reply.send(reverted.map(|()| machine.phases()));
        }
    }
}

/// The agent is lost. If the machine's own end follows, that counts.
async fn lost(machine: &mut SessionMachine, reason: SessionError) -> HowEnded {
    let following = async {
        loop {
            if let MachineEvent::Ended(end) = machine.machine().next().await? {
                return Ok::<_, std::io::Error>(end);
            }
        }
    };
    match tokio::time::timeout(END_FOLLOWS, following).await {
        Ok(Ok(end)) => machine.ended_by(end),
        _ => HowEnded::Failed(reason.into()),
    }
}

impl HowEnded {
    /// The reason, the message and the hint.
    fn describe(&self) -> (EndReason, String, Option<String>) {
        let failure = match self {
            Self::Stopped => {
                return (
                    EndReason::Stopped,
                    "the machine was stopped".to_owned(),
                    None,
                );
            }
            Self::PoweredOff(failure) | Self::Failed(failure) => failure,
        };
        let reason = match (self, failure.status) {
            (Self::PoweredOff(_), _) => EndReason::PoweredOff,
            (_, crate::exit::Status::GuestCrashed) => EndReason::Crashed,
            (_, crate::exit::Status::TimedOut) => EndReason::TimedOut,
            (_, crate::exit::Status::QemuDied) => EndReason::QemuDied,
            _ => EndReason::Failed,
        };
        (reason, format!("{:#}", failure.error), failure.hint.clone())
    }
}
