//! The run itself: one loop over the machine, the signals, the keys and the clock.

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use anyhow::Context;

use super::assemble::Assembled;
use super::options::Args;
use super::report::Facts;
use super::warm::Attempt;
use super::{Finished, report};
use crate::commands::signals::Signals;
use crate::commands::watch::Watch;
use crate::commands::{Failure, Voice};
use crate::machine::console::{Sighting, Sinks};
use crate::machine::end::End;
use crate::machine::plan::Accelerator;
use crate::machine::stdio;
use crate::machine::terminal::{Escapes, HELP, Key, Terminal};
use crate::machine::{Channels, Holdings, Machine, News};
use crate::sys;

/// The two time-outs of a run.
struct Deadlines {
    whole: Option<(Instant, Duration)>,
    boot: Option<(Instant, Duration)>,
}

impl Deadlines {
    fn of(args: &Args) -> Self {
        let now = Instant::now();
        let at = |length: Option<Duration>| length.map(|length| (now + length, length));
        Self {
            whole: at(args.conduct.timeout),
            boot: at(args.conduct.boot_timeout),
        }
    }

    /// Waits for the first to pass; for ever where there is none.
    async fn passed(&self) -> End {
        let whole = self.whole.map(|(at, length)| (at, "--timeout", length));
        let boot = self.boot.map(|(at, length)| (at, "--boot-timeout", length));
        match [whole, boot]
            .into_iter()
            .flatten()
            .min_by_key(|(at, ..)| *at)
        {
            Some((at, option, length)) => {
                sleep_until(at).await;
                End::TimedOut { option, length }
            }
            None => std::future::pending().await,
        }
    }
}

/// Starts the machine, serves it until it ends, and says what came of it.
pub async fn conduct(
    assembled: &mut Assembled,
    channels: Channels,
    args: &Args,
    mut terminal: Option<Terminal>,
    voice: &dyn Voice,
    facts: &mut Facts,
) -> Result<Finished, Failure> {
    // One listener for all of it: what was heeded once is not to be heeded again.
    let mut watch = Watch::new(args.conduct.timeout)?;
    let mut deadlines = Deadlines::of(args);
    voice.status(assembled.headline());
    facts.phases.mark("prepared");

    let (output, written) = stdio::output().context("starting a thread for the output")?;
    let warmed = match args.guest.warm {
        true => {
            let mut attempt = Attempt {
                assembled,
                args,
                watch: &mut watch,
                voice,
                facts,
            };
            let started = attempt.start(channels, Some(output.clone())).await?;
            // What came before was another boot.
            deadlines.boot = Deadlines::of(args).boot;
            started
        }
        false => Err(channels),
    };
    let mut signals = watch.signals;
    let (to_guest, input, keys) =
        inputs(terminal.is_some()).context("starting a thread for the input")?;
    let begun = match warmed {
        Ok(warmed) => {
            deadlines.boot = None;
            // The machine has its own.
            drop(output);
            tokio::task::spawn_local(pass_on(input, warmed.to_guest));
            if let Some(to_guest) = &to_guest {
                // What its console showed before, nobody sees: this makes it show its prompt.
                let _ = to_guest.try_send(b"\n".to_vec());
            }
            // Dropped with the run.
            Ok((warmed.machine, Some((warmed.session, warmed.template))))
        }
        Err(channels) => {
            let sinks = Sinks {
                output: Some(output),
                log: assembled.console_log()?,
            };
            let holdings = assembled.holdings(channels, sinks, input);
            // Dropping the start half way kills QEMU.
            tokio::select! {
                machine = start(assembled, holdings, facts) => Ok((machine?, None)),
                signal = signals.next_ending() => Err(End::Signalled(signal as i32)),
                end = deadlines.passed() => Err(end),
            }
        }
    };
    let (mut machine, _kept) = match begun {
        Ok(begun) => begun,
        Err(end) => {
            voice.clear_status();
            return Ok(report::finished(end, Vec::new(), assembled));
        }
    };
    if let Some(terminal) = &mut terminal {
        terminal.make_raw().context("setting up the terminal")?;
    }

    let mut session = Session {
        machine: &mut machine,
        terminal,
        keys,
        to_guest,
        escapes: Escapes::default(),
        voice,
    };
    let end = session.serve(&mut signals, &mut deadlines, facts).await?;
    let mut terminal = session.terminal.take();
    let on_terminal = terminal.as_mut().is_some_and(Terminal::restore);
    drop(terminal);
    voice.clear_status();
    if on_terminal && end != End::PoweredOff {
        // The guest's cursor stands wherever it stands; the shell's prompt wants a new line.
        voice.say("\n");
    }
    facts.phases.mark("ended");
    let tail = machine.console_tail();
    drop(machine);
    let copied = all_written(&end, written, &mut signals, &deadlines).await;
    copied.context("writing standard output")?;
    Ok(report::finished(end, tail, assembled))
}

/// The user's input, to a machine that was restored before there was any.
async fn pass_on(mut input: Chunks, to_guest: mpsc::Sender<Vec<u8>>) {
    while let Some(bytes) = input.recv().await {
        if to_guest.send(bytes).await.is_err() {
            return;
        }
    }
}

/// Starts QEMU, reads back what it uses, and lets the CPUs run.
pub(super) async fn start(
    assembled: &Assembled,
    holdings: Holdings<'_>,
    facts: &mut Facts,
) -> Result<Machine, Failure> {
    let argv = crate::machine::args::argv(&assembled.plan);
    let mut machine = Machine::start(assembled.plan.qemu.clone(), &argv, holdings).await?;
    facts.phases.mark("greeted");
    // Every image is open in QEMU by now, and no guest has run.
    assembled.drives.check_headers()?;
    facts.qemu_version = Some(machine.version().to_string());
    facts.accelerator.used = Some(if machine.uses_kvm().await? {
        "kvm"
    } else {
        "tcg"
    });
    if facts.accelerator.used == Some("tcg") && assembled.plan.accelerator != Accelerator::Tcg {
        tracing::warn!("QEMU could not use KVM; the guest is emulated (TCG), which is slower");
    }
    machine.cont().await?;
    facts.phases.mark("running");
    Ok(machine)
}

type Chunks = mpsc::Receiver<Vec<u8>>;
type ToGuest = mpsc::Sender<Vec<u8>>;

/// Where the guest's input comes from: straight from standard input, or, with a terminal,
/// from the loop that looks for Ctrl-A in it.
fn inputs(terminal: bool) -> io::Result<(Option<ToGuest>, Chunks, Option<Chunks>)> {
    let typed = stdio::input()?;
    Ok(if terminal {
        let (to_guest, input) = mpsc::channel(64);
        (Some(to_guest), input, Some(typed))
    } else {
        (None, typed, None)
    })
}

const SIGPIPE: i32 = Signal::SIGPIPE as i32;

/// How long a reader of ours may take for the last output of a run that was cut short.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// Waits until what the guest printed last is on standard output: as long as its reader takes
/// where the guest ended by itself, unless a signal or `--timeout` ends the wait.
///
/// # Errors
/// Why output was lost, where the end itself is none worth telling before that: a run that
/// seems to have gone well, or was ended because nothing more could be written.
async fn all_written(
    end: &End,
    written: stdio::Written,
    signals: &mut Signals,
    deadlines: &Deadlines,
) -> io::Result<()> {
    let patience = match end {
        End::Signalled(_) => Duration::ZERO,
        End::TimedOut { .. } | End::Left => LAST_OUTPUT,
        _ => Duration::MAX,
    };
    let written = tokio::select! {
        biased;
        written = tokio::time::timeout(patience, written) => written,
        _ = signals.next_ending() => return Ok(()),
        _ = deadlines.passed(), if patience == Duration::MAX => return Ok(()),
    };
    match (written, end) {
        // As any program whose reader has gone.
        (Ok(Ok(Err(error))), _) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        (Ok(Ok(Err(error))), End::PoweredOff | End::Signalled(SIGPIPE)) => Err(error),
        _ => Ok(()),
    }
}

struct Session<'a> {
    machine: &'a mut Machine,
    terminal: Option<Terminal>,
    keys: Option<Chunks>,
    to_guest: Option<ToGuest>,
    escapes: Escapes,
    voice: &'a dyn Voice,
}

impl Session<'_> {
    async fn serve(
        &mut self,
        signals: &mut Signals,
        deadlines: &mut Deadlines,
        facts: &mut Facts,
    ) -> Result<End, Failure> {
        loop {
            let end = tokio::select! {
                news = self.machine.next() => match news.context("running the machine")? {
                    News::Ended(end) => return Ok(end),
                    News::Console(sighting) => self.sighted(sighting, deadlines, facts),
                },
                signal = signals.next() => match signal {
                    // The others of the job got their own, if it came from a terminal.
                    Signal::SIGTSTP => self.suspend(false, signals).await?,
                    signal => Some(End::Signalled(signal as i32)),
                },
                typed = next_keys(&mut self.keys) => self.typed(&typed, signals).await?,
                end = deadlines.passed() => Some(end),
            };
            if let Some(end) = end {
                let patience = match end {
                    End::Signalled(_) => LAST_OUTPUT / 20,
                    _ => LAST_OUTPUT,
                };
                self.machine.stop(patience).await.context("ending QEMU")?;
                return Ok(end);
            }
        }
    }

    fn sighted(
        &mut self,
        sighting: Sighting,
        deadlines: &mut Deadlines,
        facts: &mut Facts,
    ) -> Option<End> {
        match sighting {
            Sighting::FirstByte => {
                facts.phases.mark("first-output");
                self.voice.clear_status();
            }
            Sighting::Login => {
                facts.phases.mark("login-prompt");
                deadlines.boot = None;
            }
            Sighting::OutputClosed => return Some(End::Signalled(SIGPIPE)),
            // Somebody may well be there.
            Sighting::Panic | Sighting::Stuck(_) => {}
        }
        None
    }

    async fn typed(&mut self, typed: &[u8], signals: &mut Signals) -> Result<Option<End>, Failure> {
        for key in self.escapes.take(typed) {
            match key {
                Key::Pass(bytes) => {
                    // A guest that reads nothing must not keep us from Ctrl-A X: what does
                    // not fit is dropped, as a serial line would.
                    if let Some(to_guest) = &self.to_guest {
                        let _ = to_guest.try_send(bytes);
                    }
                }
                Key::Leave => return Ok(Some(End::Left)),
                Key::Help => self.voice.say(HELP),
                Key::Suspend => {
                    if let Some(end) = self.suspend(true, signals).await? {
                        return Ok(Some(end));
                    }
                }
            }
        }
        Ok(None)
    }

    /// As Ctrl-Z: the guest stops with us, and goes on with us. An end where a signal came while
    /// QEMU did not answer.
    async fn suspend(
        &mut self,
        whole_job: bool,
        signals: &mut Signals,
    ) -> Result<Option<End>, Failure> {
        tokio::select! {
            paused = self.machine.pause() => paused?,
            signal = signals.next_ending() => return Ok(Some(End::Signalled(signal as i32))),
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.restore();
        }
        sys::stop_like_a_terminal(whole_job).context("stopping")?;
        if let Some(terminal) = &mut self.terminal {
            terminal.make_raw().context("setting up the terminal")?;
        }
        tokio::select! {
            running = self.machine.cont() => running?,
            signal = signals.next_ending() => return Ok(Some(End::Signalled(signal as i32))),
        }
        Ok(None)
    }
}

async fn next_keys(keys: &mut Option<Chunks>) -> Vec<u8> {
    if let Some(receiver) = keys {
        if let Some(bytes) = receiver.recv().await {
            return bytes;
        }
        *keys = None;
    }
    std::future::pending().await
}
