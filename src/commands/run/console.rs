//! The guest's serial console on the user's terminal, until the machine ends.

use std::io;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use tokio::sync::mpsc;

use super::ending::Ending;
use super::saver::Saver;
use crate::launch::keyboard::Keyboard;
use crate::launch::save::SaveSpec;
use crate::launch::spec::StartMode;
use crate::launch::start::Launch;
use crate::launch::supervisor::{Event, Interrupted, Supervisor};
use crate::launch::{Failure, Outcome};
use crate::machine::Machine;
use crate::machine::console::ConsoleEvent;
use crate::machine::end::End;
use crate::machine::stdio;
use crate::machine::terminal::{HELP, Terminal};
use crate::session::Session;
use crate::template::restore::Template;

const SIGPIPE: i32 = Signal::SIGPIPE as i32;

/// How long the reader of our output may take for the last of it, after a run that was cut short.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// Starts the machine and serves its console until it ends.
pub(super) async fn run(
    launch: &mut Launch<'_>,
    terminal: Option<Terminal>,
    ending: &mut Ending<'_>,
    save: &dyn Fn(&str) -> Result<SaveSpec, Failure>,
) -> Result<Outcome, Failure> {
    launch.progress.status(&launch.vm.headline);
    launch.facts.phases.mark("prepared");
    // Taken away by the thread that writes, or it would be after the guest's first letters.
    let (output, written) = stdio::console_output(launch.progress.status_remover())
        .context("starting a thread for the output")?;
    let Started {
        mut machine,
        keyboard,
        restored,
    } = match start(launch, terminal.is_some(), output.clone()).await {
        Ok(started) => started,
        Err(Interrupted::Failed(failure)) => return Err(failure),
        Err(Interrupted::Ended { end, tail }) => {
            launch.progress.clear_status();
            return Ok(launch.vm.ended(end, tail));
        }
    };
    launch.supervisor.attach(terminal, keyboard)?;
    if ending.is_wanted() {
        machine.hold().await?;
    }
    let mut saver = Saver {
        session: restored.as_ref().map(|(session, _)| session),
        spec: save,
        echo: output,
    };
    let served = serve(launch, &mut machine, ending, &mut saver).await;
    drop(saver);
    let on_terminal = launch.supervisor.detach();
    let end = served?;
    launch.progress.clear_status();
    if on_terminal && end != End::PoweredOff {
        // The guest's cursor may be anywhere; the shell's prompt needs a new line.
        launch.progress.message("\n");
    }
    launch.facts.phases.mark("ended");
    let tail = machine.console_tail();
    drop(machine);
    let copied = all_written(&end, written, &mut launch.supervisor).await;
    copied.context("writing standard output")?;
    Ok(launch.vm.ended(end, tail))
}

struct Started {
    machine: Machine,
    keyboard: Keyboard,
    /// Held while a restored machine runs.
    restored: Option<(Session, Option<Template>)>,
}

/// Starts the machine, warm or cold. Its input comes straight from standard input, or, with a
/// terminal, from the keyboard, which looks for Ctrl-A in it.
async fn start(
    launch: &mut Launch<'_>,
    has_terminal: bool,
    output: mpsc::Sender<Vec<u8>>,
) -> Result<Started, Interrupted> {
    let restored = match launch.spec.start {
        StartMode::Warm => launch.start_warm(Some(output.clone())).await?,
        StartMode::Cold => None,
    };
    let typed = stdio::input().context("starting a thread for the input")?;
    match restored {
        Some(vm) => Ok(Started {
            machine: vm.machine,
            keyboard: match (vm.to_guest, has_terminal) {
                (Some(to_guest), true) => {
                    // What its console showed before is lost: this makes it show its prompt.
                    let _ = to_guest.try_send(b"\n".to_vec());
                    Keyboard::new(typed, to_guest)
                }
                (Some(to_guest), false) => {
                    tokio::task::spawn_local(pass_on(typed, to_guest));
                    Keyboard::default()
                }
                (None, _) => Keyboard::default(),
            },
            restored: Some((vm.session, vm.template)),
        }),
        None => {
            let (input, keyboard) = match has_terminal {
                true => {
                    let (to_guest, input) = mpsc::channel(64);
                    (input, Keyboard::new(typed, to_guest))
                }
                false => (typed, Keyboard::default()),
            };
            let boot_timeout = launch.spec.boot_timeout;
            launch.supervisor.set_boot_timeout(boot_timeout);
            let sinks = launch.vm.sinks(Some(output))?;
            Ok(Started {
                machine: launch.start(sinks, input, None).await?,
                keyboard,
                restored: None,
            })
        }
    }
}

/// Standard input, to a machine that was restored before there was any.
async fn pass_on(mut input: mpsc::Receiver<Vec<u8>>, to_guest: mpsc::Sender<Vec<u8>>) {
    while let Some(bytes) = input.recv().await {
        if to_guest.send(bytes).await.is_err() {
            return;
        }
    }
}

/// Serves the console until the machine ends, or is ended.
async fn serve(
    launch: &mut Launch<'_>,
    machine: &mut Machine,
    ending: &mut Ending<'_>,
    saver: &mut Saver<'_>,
) -> Result<End, Failure> {
    let end = loop {
        match step(launch, machine, ending, saver).await {
            Ok(()) => {}
            Err(Interrupted::Ended { end, .. }) => break end,
            Err(Interrupted::Failed(failure)) => return Err(failure),
        }
    };
    let patience = match end {
        End::Signalled(_) => LAST_OUTPUT / 20,
        _ => LAST_OUTPUT,
    };
    let done = match &end {
        End::UserQuit => ending.settle(launch, machine, saver.session).await,
        // Its agent no longer answers.
        end if end.may_be_kept() => ending.settle(launch, machine, None).await,
        _ => Ok(()),
    };
    machine.stop(patience).await.context("ending QEMU")?;
    match done {
        Err(Interrupted::Failed(failure)) => Err(failure),
        Err(Interrupted::Ended { end, .. }) => Ok(end),
        Ok(()) => Ok(end),
    }
}

async fn step(
    launch: &mut Launch<'_>,
    machine: &mut Machine,
    ending: &mut Ending<'_>,
    saver: &mut Saver<'_>,
) -> Result<(), Interrupted> {
    match launch.supervisor.next(machine).await? {
        Event::Console(ConsoleEvent::FirstByte) => {
            launch.facts.phases.mark("first-output");
        }
        Event::Console(ConsoleEvent::Login) => {
            launch.facts.phases.mark("login-prompt");
            launch.supervisor.set_boot_timeout(None);
        }
        Event::Console(ConsoleEvent::OutputClosed) => {
            return Err(Interrupted::ended(End::Signalled(SIGPIPE), machine));
        }
        Event::Help => launch.progress.message(HELP),
        Event::Keep => match ending.keep_too(launch) {
            Ok(()) => machine.hold().await?,
            // The machine goes on; there is time to make room for the file.
            Err(failure) => tracing::warn!("{:#}", failure.error),
        },
        Event::Save => saver.save(launch, machine).await?,
        // A guest whose boot waits for a person may well have one here.
        event => launch.supervisor.handle(machine, event).await?,
    }
    Ok(())
}

/// Waits until what the guest printed last is on standard output: as long as its reader takes if
/// the guest ended by itself, unless a signal or a deadline ends the wait.
///
/// Reports lost output only if the run seemed to go well, or ended because nothing more could be
/// written; otherwise its end matters more.
async fn all_written(
    end: &End,
    written: stdio::FlushHandle,
    supervisor: &mut Supervisor,
) -> io::Result<()> {
    let patience = match end {
        End::Signalled(_) => Duration::ZERO,
        End::TimedOut { .. } | End::UserQuit => LAST_OUTPUT,
        _ => Duration::MAX,
    };
    if patience != Duration::MAX {
        supervisor.clear_deadlines();
    }
    let written = supervisor.guard(tokio::time::timeout(patience, written));
    match (written.await, end) {
        // As any program whose reader has gone.
        (Ok(Ok(Ok(Err(error)))), _) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        (Ok(Ok(Ok(Err(error)))), End::PoweredOff | End::Signalled(SIGPIPE)) => Err(error),
        _ => Ok(()),
    }
}
