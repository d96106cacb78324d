//! A machine that boots for a command: until its agent answers.

use std::time::Duration;

use anyhow::anyhow;
use tokio::net::UnixStream;

use super::Finished;
use super::assemble::Assembled;
use super::options::Args;
use super::report::Facts;
use crate::commands::watch::Watch;
use crate::commands::{Failure, verdict};
use crate::exit::Status;
use crate::guest::qga::PORT;
use crate::guest::session::{Command, Session, SessionError};
use crate::machine::Machine;
use crate::machine::end::End;

/// How long a guest may take to boot where nobody said: with KVM a minute is much, and one
/// that is emulated takes ten times as long and more.
const BOOT: Duration = Duration::from_secs(300);
const EMULATED_BOOT: Duration = Duration::from_secs(1800);

/// How long a machine's end may follow that of its agent.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often systemd is asked whether it is done.
const ASK: Duration = Duration::from_millis(500);

/// What its agent tells of a guest whose boot failed.
const EMERGENCY: &str = "its init is in emergency mode";

/// A machine that was started for a command.
#[derive(Debug)]
pub struct Run<'a> {
    /// Dropped, it kills QEMU.
    pub machine: Machine,
    /// What may cut it short.
    pub watch: &'a mut Watch,
    /// What it was started from.
    pub assembled: &'a Assembled,
    /// What was typed.
    pub args: &'a Args,
}

impl Run<'_> {
    /// How long the guest may take to boot.
    pub fn patience(&self, facts: &Facts) -> Duration {
        let emulated = facts.accelerator.used == Some("tcg");
        let length = self.args.conduct.boot_timeout;
        length.unwrap_or(if emulated { EMULATED_BOOT } else { BOOT })
    }

    /// Waits for bivouac's own agent, and where the `whole` boot is wanted until nothing is being
    /// started any more.
    ///
    /// # Errors
    /// As [`Run::ready`].
    pub async fn our_agent(
        &mut self,
        whole: bool,
        facts: &mut Facts,
    ) -> Result<Result<Session, End>, Failure> {
        // The other clock is the one that counts.
        let length = self.patience(facts) + LAST_WORDS;
        let ready = self.ready(facts, async |port| {
            let session = Session::connect(port, length).await?;
            if whole && !session.is_emergency() {
                idle(&session).await?;
            }
            Ok::<_, SessionError>(session)
        });
        Ok(match ready.await? {
            Ok(session) if session.is_emergency() => Err(End::GaveUp { how: EMERGENCY }),
            ready => ready,
        })
    }

    /// Waits until an agent answers; or gives the end that came before.
    ///
    /// # Errors
    /// The agent's end of the port.
    pub async fn ready<T, E: Into<Failure>>(
        &mut self,
        facts: &mut Facts,
        connect: impl AsyncFnOnce(UnixStream) -> Result<T, E>,
    ) -> Result<Result<T, End>, Failure> {
        let length = self.patience(facts);
        let Some(port) = self.machine.take_agent() else {
            return Err(anyhow!("the machine has no port for an agent").into());
        };
        let waiting = tokio::time::timeout(length, connect(port));
        let ready = match self.watch.during_boot(&mut self.machine, waiting).await? {
            Ok(ready) => ready,
            Err(end) => return Ok(Err(end)),
        };
        match ready {
            Ok(Ok(agent)) => {
                // Its boot may have wanted a reset; under a command it is the end.
                if self.assembled.plan.reboot {
                    self.machine.forbid_reset().await?;
                }
                facts.phases.mark("ready");
                Ok(Ok(agent))
            }
            Err(_) => Ok(Err(End::TimedOut {
                option: "--boot-timeout",
                length,
            })),
            // The machine's own end says more than that its port is closed.
            Ok(Err(error)) => {
                let ended = std::future::pending::<()>();
                let ended = self.watch.during(&mut self.machine, ended);
                match tokio::time::timeout(LAST_WORDS, ended).await {
                    Ok(Ok(Err(end))) => Ok(Err(end)),
                    _ => Err(error.into()),
                }
            }
        }
    }

    /// The machine ended, or was told to, before the command did.
    pub fn ended(&self, end: End) -> Finished {
        let tail = self.machine.console_tail();
        let (drives, max_write) = (&self.assembled.drives, self.assembled.max_write);
        let mut failure = verdict::failure(&end, &tail, drives, max_write);
        if let End::TimedOut {
            option: "--boot-timeout",
            length,
        } = &end
        {
            let said: String = tail.iter().map(|line| format!("\n  {line}")).collect();
            let seconds = length.as_secs_f64();
            let port = self.assembled.plan.agent.as_ref();
            let (agent, mend) = match port.is_some_and(|port| port.name == PORT) {
                true => (
                    "the QEMU guest agent",
                    "a longer --boot-timeout, or an image that has and starts qemu-guest-agent",
                ),
                false => (
                    "the guest's agent",
                    "a longer --boot-timeout, or --console-log FILE to see what keeps it",
                ),
            };
            failure = Failure::with_mend(
                anyhow!("{agent} did not answer within {seconds} s; its console said last:{said}"),
                mend,
            );
        }
        let status = match &end {
            End::Left => Status::Success,
            End::TimedOut { .. } => Status::TimedOut,
            _ => failure.status,
        };
        let is_told = matches!(end, End::Left | End::Signalled(_));
        Finished::Ran {
            status,
            message: (!is_told).then(|| format!("{:#}", failure.error)),
            mend: failure.mend,
            end,
            tail,
        }
    }
}

/// Waits until systemd has nothing more to start; other inits are where they will be.
async fn idle(session: &Session) -> Result<(), SessionError> {
    loop {
        let command = Command {
            argv: ["systemctl", "is-system-running"].map(Into::into).into(),
            ..Command::default()
        };
        let mut exec = session.exec(command).await?;
        exec.stdin = None;
        let mut state = Vec::new();
        if let Some(stdout) = exec.stdout.take() {
            use tokio::io::AsyncReadExt;
            let mut few = stdout.take(100);
            // What it could not say, it says the next time.
            let _ = few.read_to_end(&mut state).await;
        }
        exec.wait().await?;
        match state.trim_ascii() {
            b"initializing" | b"starting" => tokio::time::sleep(ASK).await,
            _ => return Ok(()),
        }
    }
}
