//! A run that is there for a command: the overlay is prepared, the machine boots, its agent
//! answers, and then files go in, the command runs, and files come out. The machine is killed
//! afterwards; nothing in it is to be kept.

use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::assemble::Assembled;
use super::guest::{Via, WaitFor};
use super::options::Args;
use super::report::Facts;
use super::{Finished, conduct, copies, qga, seeding};
use crate::commands::exec::{self, Ended, Streams};
use crate::commands::watch::Watch;
use crate::commands::{Failure, Voice, verdict};
use crate::exit::Status;
use crate::guest;
use crate::guest::qga::{PORT, Qga};
use crate::guest::session::{Command, Session, SessionError};
use crate::machine::console::Sinks;
use crate::machine::end::End;
use crate::machine::{Channels, Holdings, Machine, stdio};

/// How long a guest may take to boot where nobody said: with KVM a minute is much, and one
/// that is emulated takes ten times as long and more.
const BOOT: Duration = Duration::from_secs(300);
const EMULATED_BOOT: Duration = Duration::from_secs(1800);

/// How long a machine's end may follow that of its agent.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often systemd is asked whether it is done.
const ASK: Duration = Duration::from_millis(500);

/// Does all of it.
///
/// # Errors
/// Whatever keeps the command from being run to its end.
pub async fn course(
    assembled: &mut Assembled,
    channels: Channels,
    args: &Args,
    streams: Streams,
    voice: &dyn Voice,
    facts: &mut Facts,
) -> Result<Finished, Failure> {
    let mut watch = Watch::new(args.conduct.timeout)?;
    facts.phases.mark("prepared");
    let seeded = match args.guest.via {
        Via::Qga => false,
        _ => seeding::seed(assembled, &args.guest, &mut watch, facts, voice).await?,
    };
    let mut other = None;
    if !seeded {
        let input = match watch.before(qga::input()).await {
            Ok(input) => input?,
            Err(end) => return Err(verdict::failure(&end, &[], &assembled.drives, None)),
        };
        other = Some(qga::command(args, input)?);
        if let Some(port) = &mut assembled.plan.agent {
            port.name = PORT;
        }
    }
    voice.status(assembled.headline());
    let holdings = Holdings {
        channels,
        files: assembled.drives.files(),
        max_file_size: assembled.max_write,
        sinks: Sinks {
            output: match tracing::enabled!(tracing::Level::DEBUG) {
                true => Some(stdio::error_output().context("the console's output")?.0),
                false => None,
            },
            log: assembled.console_log()?,
        },
        // Nobody types at its console.
        input: mpsc::channel(1).1,
    };
    let started = watch
        .before(conduct::start(assembled, holdings, facts))
        .await;
    let mut run = match started {
        Ok(machine) => Run {
            machine: machine?,
            watch,
            assembled,
            args,
        },
        Err(end) => {
            voice.clear_status();
            return Err(verdict::failure(&end, &[], &assembled.drives, None));
        }
    };
    let finished = match other {
        None => run.by_our_agent(streams, voice, facts).await,
        Some(command) => run.by_theirs(command, voice, facts).await,
    };
    voice.clear_status();
    facts.phases.mark("ended");
    let stopped = run.machine.stop(Duration::ZERO).await;
    let finished = finished?;
    stopped.context("ending QEMU")?;
    Ok(finished)
}

struct Run<'a> {
    machine: Machine,
    watch: Watch,
    assembled: &'a Assembled,
    args: &'a Args,
}

impl Run<'_> {
    async fn by_our_agent(
        &mut self,
        streams: Streams,
        voice: &dyn Voice,
        facts: &mut Facts,
    ) -> Result<Finished, Failure> {
        let whole = self.args.guest.wait_for == WaitFor::Running;
        // The other clock is the one that counts.
        let length = self.patience(facts) + LAST_WORDS;
        let connected = self.ready(facts, async |port| {
            let session = Session::connect(port, length).await?;
            if whole {
                idle(&session).await?;
            }
            Ok::<_, SessionError>(session)
        });
        let session = match connected.await? {
            Ok(session) => session,
            Err(end) => return Ok(self.ended(end)),
        };
        voice.clear_status();
        let guest = &self.args.guest;
        let copying = copies::all_in(&session, &guest.copy_in);
        match self.watch.during(&mut self.machine, copying).await? {
            Ok(copied) => copied?,
            Err(end) => return Ok(self.ended(end)),
        }
        if !guest.copy_in.is_empty() {
            facts.phases.mark("copied-in");
        }
        let argv = guest.argv();
        let mut command = guest.run.command(&argv);
        // As after a login: what the agent was started with is the init's business.
        command.clear_env = true;
        let (watch, machine) = (&mut self.watch, &mut self.machine);
        let ended = exec::conduct(watch, machine, &session, command, streams, voice).await?;
        let ended = match ended {
            Ended::Command(end) => end,
            Ended::Machine(end) => return Ok(self.ended(end)),
        };
        facts.phases.mark("command");
        let verdict = exec::status(&argv[0], ended);
        facts.command = Some(match &verdict {
            Ok(status) => status.code(),
            Err(failure) => failure.status.code(),
        });
        let copying = copies::all_out(&session, &guest.copy_out);
        let copied = match self.watch.during(&mut self.machine, copying).await? {
            Ok(copied) => copied,
            Err(end) => return Ok(self.ended(end)),
        };
        if !guest.copy_out.is_empty() {
            facts.phases.mark("copied-out");
        }
        match (verdict, copied) {
            (Ok(Status::Guest(0)), Err(failure)) => Err(failure),
            (verdict, copied) => {
                // How the command ended weighs more, but both are said.
                if let Err(failure) = copied {
                    tracing::warn!("{:#}", failure.error);
                }
                verdict.map(|status| Finished::Commanded { status })
            }
        }
    }

    async fn by_theirs(
        &mut self,
        command: guest::qga::Command,
        voice: &dyn Voice,
        facts: &mut Facts,
    ) -> Result<Finished, Failure> {
        let mut agent = match self
            .ready(facts, async |port| Qga::connect(port).await)
            .await?
        {
            Ok(agent) => agent,
            Err(end) => return Ok(self.ended(end)),
        };
        voice.clear_status();
        let running = qga::run(&mut agent, command);
        let ran = match self.watch.during(&mut self.machine, running).await? {
            Ok(ran) => ran,
            Err(end) => return Ok(self.ended(end)),
        };
        facts.phases.mark("command");
        facts.command = Some(match &ran {
            Ok(status) => status.code(),
            Err(failure) => failure.status.code(),
        });
        ran.map(|status| Finished::Commanded { status })
    }

    /// How long the guest may take to boot.
    fn patience(&self, facts: &Facts) -> Duration {
        let emulated = facts.accelerator.used == Some("tcg");
        let length = self.args.conduct.boot_timeout;
        length.unwrap_or(if emulated { EMULATED_BOOT } else { BOOT })
    }

    /// Waits until an agent answers.
    async fn ready<T, E: Into<Failure>>(
        &mut self,
        facts: &mut Facts,
        connect: impl AsyncFnOnce(UnixStream) -> Result<T, E>,
    ) -> Result<Result<T, End>, Failure> {
        let length = self.patience(facts);
        let Some(port) = self.machine.take_agent() else {
            return Err(anyhow!("the machine has no port for an agent").into());
        };
        let waiting = tokio::time::timeout(length, connect(port));
        let ready = match self.watch.during(&mut self.machine, waiting).await? {
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
    fn ended(&self, end: End) -> Finished {
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
