//! The signals that end or suspend a run. One that was ignored when bivouac started stays ignored,
//! as `nohup` and shells expect.

use std::io;
use std::task::Poll;

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::sys;

/// Signals that end the run, and the one that suspends it.
const HANDLED: [Signal; 5] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
];

#[derive(Debug)]
pub(crate) struct Signals(Vec<(Signal, tokio::signal::unix::Signal)>);

impl Signals {
    /// From here on they no longer end the process by themselves. One that our parent had blocked
    /// is unblocked, or it would never arrive. Call it before any thread is started, which would
    /// inherit the mask.
    pub fn listen() -> io::Result<Self> {
        HANDLED.into_iter().collect::<SigSet>().thread_unblock()?;
        HANDLED
            .into_iter()
            .filter(|name| !sys::is_ignored(*name))
            .map(|name| Ok((name, signal(SignalKind::from_raw(name as i32))?)))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// None ever comes: another listener of this process acts on them.
    pub fn left_to_another() -> Self {
        Self(Vec::new())
    }

    /// The next one. May be dropped and called again.
    pub async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (name, listener) in &mut self.0 {
                if listener.poll_recv(context).is_ready() {
                    return Poll::Ready(*name);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The next one that ends the run, while no guest runs that would have to be stopped with us:
    /// Ctrl-Z only stops bivouac. May be dropped and called again.
    pub async fn next_ending(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::SIGTSTP => {
                    if let Err(error) = sys::stop_like_a_terminal(false) {
                        tracing::debug!("stopping: {error}");
                    }
                }
                signal => return signal,
            }
        }
    }
}
