//! What may cut a machine's work short: signals, the clock, and the machine's own end.

use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep_until};

use super::Failure;
use super::signals::Signals;
use crate::machine::console::Sighting;
use crate::machine::end::End;
use crate::machine::terminal::Terminal;
use crate::machine::{Machine, News};
use crate::sys;

/// How long after its console asked for somebody a guest may still come up by itself: its agent
/// may be started at the same moment, and knows more.
const GRACE: Duration = Duration::from_secs(10);

/// Watches over one machine's work.
#[derive(Debug)]
pub struct Watch {
    /// What the user sends us.
    pub signals: Signals,
    deadline: Option<(Instant, Duration)>,
}

impl Watch {
    /// From here on signals no longer end the process by themselves. `timeout` is the user's, and
    /// counts from now.
    ///
    /// # Errors
    /// No signal can be listened for.
    pub fn new(timeout: Option<Duration>) -> Result<Self, Failure> {
        Ok(Self {
            signals: Signals::listen().context("listening for signals")?,
            deadline: timeout.map(|length| (Instant::now() + length, length)),
        })
    }

    /// Waits until `--timeout` has run out; for ever where there is none.
    pub fn timed_out(&self) -> impl Future<Output = End> + use<> {
        timed_out(self.deadline)
    }

    /// Does some work in which no machine runs yet that would have to be stopped with us.
    ///
    /// # Errors
    /// What cut it short.
    pub async fn before<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            done = work => Ok(done),
            signal = self.signals.next_ending() => Err(End::Signalled(signal as i32)),
            end = timed_out(self.deadline) => Err(end),
        }
    }

    /// Does some work in which `machine` takes part.
    ///
    /// # Errors
    /// What cut it short; the machine is then still there, unless it was its own end.
    pub async fn during<T>(
        &mut self,
        machine: &mut Machine,
        work: impl Future<Output = T>,
    ) -> Result<Result<T, End>, Failure> {
        self.conduct(machine, work, false).await
    }

    /// [`Watch::during`], for the boot of a guest at whose console nobody types: where it asks for
    /// somebody there, that is its end, unless the work is done soon after.
    ///
    /// # Errors
    /// As [`Watch::during`].
    pub async fn during_boot<T>(
        &mut self,
        machine: &mut Machine,
        work: impl Future<Output = T>,
    ) -> Result<Result<T, End>, Failure> {
        self.conduct(machine, work, true).await
    }

    async fn conduct<T>(
        &mut self,
        machine: &mut Machine,
        work: impl Future<Output = T>,
        is_boot: bool,
    ) -> Result<Result<T, End>, Failure> {
        let mut work = std::pin::pin!(work);
        let mut asked: Option<(Instant, End)> = None;
        loop {
            tokio::select! {
                // What the work has found counts, also where the machine ends at that moment.
                biased;
                done = &mut work => return Ok(Ok(done)),
                news = machine.next() => {
                    match news.context("running the machine")? {
                        News::Ended(end) => return Ok(Err(end)),
                        News::Console(Sighting::Stuck(how)) if is_boot => {
                            let end = End::GaveUp { how };
                            asked.get_or_insert_with(|| (Instant::now() + GRACE, end));
                        }
                        News::Console(_) => {}
                    }
                }
                signal = self.signals.next() => match signal {
                    Signal::SIGTSTP => {
                        if let Some(end) = self.suspend(machine, None, false).await? {
                            return Ok(Err(end));
                        }
                    }
                    signal => return Ok(Err(End::Signalled(signal as i32))),
                },
                end = timed_out(self.deadline) => return Ok(Err(end)),
                end = given_up(asked.clone()) => return Ok(Err(end)),
            }
        }
    }

    /// As Ctrl-Z: the guest stops with us, and goes on with us; a raw terminal is given back
    /// meanwhile. With `whole_job` the others of the job stop too, who got no signal of their own.
    /// An end where a signal came while QEMU did not answer.
    ///
    /// # Errors
    /// QEMU, or the terminal, does not obey.
    pub async fn suspend(
        &mut self,
        machine: &mut Machine,
        terminal: Option<&mut Terminal>,
        whole_job: bool,
    ) -> Result<Option<End>, Failure> {
        tokio::select! {
            paused = machine.pause() => paused?,
            signal = self.signals.next_ending() => return Ok(Some(End::Signalled(signal as i32))),
        }
        match terminal {
            Some(terminal) => {
                terminal.restore();
                sys::stop_like_a_terminal(whole_job).context("stopping")?;
                terminal.make_raw().context("setting up the terminal")?;
            }
            None => sys::stop_like_a_terminal(whole_job).context("stopping")?,
        }
        tokio::select! {
            running = machine.cont() => running?,
            signal = self.signals.next_ending() => return Ok(Some(End::Signalled(signal as i32))),
        }
        Ok(None)
    }
}

async fn given_up(asked: Option<(Instant, End)>) -> End {
    match asked {
        Some((at, end)) => {
            sleep_until(at).await;
            end
        }
        None => std::future::pending().await,
    }
}

async fn timed_out(deadline: Option<(Instant, Duration)>) -> End {
    match deadline {
        Some((at, length)) => {
            sleep_until(at).await;
            End::TimedOut {
                option: "--timeout",
                length,
            }
        }
        None => std::future::pending().await,
    }
}
