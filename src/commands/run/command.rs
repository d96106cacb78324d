//! A run that is there for a command: the overlay is prepared, the machine boots, its agent
//! answers, and then files go in, the command runs, and files come out. The machine is killed
//! afterwards; nothing in it is to be kept.

use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;

use super::assemble::Assembled;
use super::guest::{Via, WaitFor};
use super::options::Args;
use super::ready::Run;
use super::report::Facts;
use super::warm::{Attempt, Warmed};
use super::{Finished, conduct, copies, qga, seeding};
use crate::commands::exec::{self, Ended, Streams};
use crate::commands::watch::Watch;
use crate::commands::{Failure, Voice, verdict};
use crate::exit::Status;
use crate::guest;
use crate::guest::qga::{PORT, Qga};
use crate::guest::session::Session;
use crate::machine::console::Sinks;
use crate::machine::{Channels, stdio};

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
    let output = match tracing::enabled!(tracing::Level::DEBUG) {
        true => Some(stdio::error_output().context("the console's output")?.0),
        false => None,
    };
    let mut channels = channels;
    if args.guest.warm {
        let mut attempt = Attempt {
            assembled,
            args,
            watch: &mut watch,
            voice,
            facts,
        };
        match attempt.start(channels, output.clone()).await? {
            Ok(warmed) => {
                let Warmed {
                    machine,
                    session,
                    to_guest: _nobody_types,
                    template: _in_use,
                } = warmed;
                let mut run = Run {
                    machine,
                    watch: &mut watch,
                    assembled,
                    args,
                };
                let finished = run.command(session, streams, voice, facts).await;
                return run.over(finished, voice, facts).await;
            }
            Err(fresh) => channels = fresh,
        }
    }
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
    let sinks = Sinks {
        output,
        log: assembled.console_log()?,
    };
    // Nobody types at its console.
    let holdings = assembled.holdings(channels, sinks, mpsc::channel(1).1);
    let started = watch
        .before(conduct::start(assembled, holdings, facts))
        .await;
    let mut run = match started {
        Ok(machine) => Run {
            machine: machine?,
            watch: &mut watch,
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
    run.over(finished, voice, facts).await
}

impl Run<'_> {
    async fn by_our_agent(
        &mut self,
        streams: Streams,
        voice: &dyn Voice,
        facts: &mut Facts,
    ) -> Result<Finished, Failure> {
        let whole = self.args.guest.wait_for == WaitFor::Running;
        let session = match self.our_agent(whole, facts).await? {
            Ok(session) => session,
            Err(end) => return Ok(self.ended(end)),
        };
        if let Some(identity) = self.args.guest.identity()? {
            session.identify(identity).await?;
        }
        self.command(session, streams, voice, facts).await
    }

    /// Runs the command by an agent that is ready.
    async fn command(
        &mut self,
        session: Session,
        streams: Streams,
        voice: &dyn Voice,
        facts: &mut Facts,
    ) -> Result<Finished, Failure> {
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
        let (watch, machine) = (&mut *self.watch, &mut self.machine);
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

    /// The machine is of no use any more.
    async fn over(
        &mut self,
        finished: Result<Finished, Failure>,
        voice: &dyn Voice,
        facts: &mut Facts,
    ) -> Result<Finished, Failure> {
        voice.clear_status();
        facts.phases.mark("ended");
        let stopped = self.machine.stop(Duration::ZERO).await;
        let finished = finished?;
        stopped.context("ending QEMU")?;
        Ok(finished)
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
}
