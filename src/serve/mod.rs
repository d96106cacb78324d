//! `bivouac session`: a process that holds machines, and serves the requests of another program on
//! standard input and output. [`mcp`] serves them in another protocol.
//!
//! [`options`] is what was typed. [`requests`] reads requests ([`lines`]) and serves each in a task of
//! its own, with [`commands`], [`files`], [`checkpoints`] and [`changes`]. [`hub`] is what they share: the
//! machines, each a [`handle`] to the task that owns it ([`machine`]), their checkpoints ([`saved`]),
//! the commands that run ([`running_commands`]), and the way to the [`client`]. The messages are in [`crate::rpc`].

mod changes;
mod checkpoints;
mod client;
mod commands;
mod errors;
mod files;
mod handle;
mod hub;
mod limits;
mod lines;
mod machine;
pub mod mcp;
mod options;
mod output;
mod requests;
mod running_commands;
mod saved;

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use tokio::time::timeout;

use crate::appliance::boot::ROOT;
use crate::commands::inspection::MountedImage;
use crate::exit::Status;
use crate::launch::appliance_session::{ApplianceSession, InspectionSpec};
use crate::launch::facts::{AcceleratorFacts, Facts};
use crate::launch::prepare::prepare;
use crate::launch::start::Launch;
use crate::launch::supervisor::{Stopped, Supervisor};
use crate::launch::{Failure, LiveVm, Progress, accelerator, block_on};
use crate::machine::stdio::{self, OutputMode};
use client::Client;
use handle::Handle;
use hub::{Hub, LAST_WORDS};
use machine::{Guest, HowEnded, Origin, SessionMachine};
pub use options::Args;

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, progress: &dyn Progress) -> Result<Status, Failure> {
    let first = match args.inspection()? {
        Some(spec) => First::Appliance(Box::new(spec), args.root.clone()),
        None => First::Guest(Box::new(Origin {
            spec: args.machine()?,
            typed: args.typed.clone(),
        })),
    };
    block_on(serve(args, first, progress))
}

/// The machine that the session begins with.
enum First {
    Guest(Box<Origin>),
    /// With what `--root` names.
    Appliance(Box<InspectionSpec>, Option<String>),
}

/// Serves requests until the end of standard input, a signal or the timeout.
async fn serve(args: &Args, first: First, progress: &dyn Progress) -> Result<Status, Failure> {
    // Before there is a thread, which would inherit the blocked signals.
    let mut supervisor = Supervisor::new(args.timeout())?;
    let (output, mut written) =
        stdio::output(OutputMode::Text).context("starting a thread for the output")?;
    let input = stdio::input().context("starting a thread for the input")?;
    let hub = Hub::new(Client::new(output));
    let root = match &first {
        First::Guest(_) => "/",
        First::Appliance(..) => ROOT,
    };
    let handle = hub.add_machine(|id| Handle::new(id, root));
    // What serves requests is large: it is kept off the stack.
    let work = Box::pin(async {
        tokio::select! {
            biased;
            () = requests::serve_all(&hub, input) => Ok(()),
            () = hub.client.gone() => Ok(()),
            failed = Box::pin(hold_first(&hub, &handle, first, progress)) => match failed {
                Ok(never) => match never {},
                Err(failure) => Err(failure),
            },
        }
    });
    let done = supervisor.guard(work).await;
    progress.clear_status();
    if let Ok(Err(_)) = &done {
        // Requests that wait for the machine get to know why there is none.
        let _ = timeout(LAST_WORDS, hub.all_served()).await;
    }
    hub.stop_all().await;
    hub.client.close();
    let _ = timeout(LAST_WORDS, &mut written).await;
    match done {
        Ok(Ok(())) => Ok(Status::Success),
        Ok(Err(failure)) => Err(failure),
        Err(Stopped(end)) => Ok(end.status()),
    }
}

/// Starts the first machine and holds it; returns only if it cannot be started.
async fn hold_first(
    hub: &Rc<Hub>,
    handle: &Rc<Handle>,
    first: First,
    progress: &dyn Progress,
) -> Result<Infallible, Failure> {
    let starting = Box::pin(async {
        match first {
            First::Guest(origin) => Box::pin(start(*origin, progress)).await,
            First::Appliance(spec, root) => Box::pin(open(*spec, root, progress)).await,
        }
    });
    let started = tokio::select! {
        biased;
        () = handle.stopped() => None,
        started = starting => Some(started),
    };
    progress.clear_status();
    match started {
        Some(Ok(machine)) => {
            Box::pin(handle::hold(
                Rc::clone(&hub.client),
                Rc::clone(handle),
                machine,
            ))
            .await
        }
        Some(Err(failure)) => {
            let how = HowEnded::Failed(failure);
            handle.end(&hub.client, &how).await;
            if let HowEnded::Failed(failure) = how {
                return Err(failure);
            }
        }
        None => handle.end(&hub.client, &HowEnded::Stopped).await,
    }
    // Other machines may run.
    std::future::pending().await
}

/// Boots or restores the machine.
async fn start(origin: Origin, progress: &dyn Progress) -> Result<SessionMachine, Failure> {
    let mut supervisor = Supervisor::of_one_machine();
    let origin = Origin {
        spec: origin.spec.unpacked(&mut supervisor, progress).await?,
        ..origin
    };
    let spec = &origin.spec;
    let mut facts = Facts::since(Instant::now());
    let mut launch = Launch {
        vm: prepare(spec, &mut facts)?,
        spec,
        supervisor,
        progress,
        facts: &mut facts,
    };
    let output = match tracing::enabled!(tracing::Level::DEBUG) {
        true => Some(
            stdio::error_output(OutputMode::Terminal)
                .context("the console's output")?
                .0,
        ),
        false => None,
    };
    let started = launch.start_for_commands(output).await;
    let Some(running) = started.map_err(|interrupted| launch.failed(interrupted))? else {
        let error = anyhow::anyhow!("the image holds no system that could start bivouac's agent");
        return Err(Failure::with_hint(
            error,
            "--inspect holds the image's files without booting it",
        ));
    };
    let live = LiveVm::new(launch.vm, running);
    let guest = Guest::new(live, Rc::new(origin)).await?;
    Ok(SessionMachine::Guest(Box::new(guest)))
}

/// Opens the image in an appliance, and mounts its root.
async fn open(
    spec: InspectionSpec,
    root: Option<String>,
    progress: &dyn Progress,
) -> Result<SessionMachine, Failure> {
    let mut facts = AcceleratorFacts::default();
    let asked = spec.appliance.accelerator;
    let choose = move || Ok((accelerator::choose(asked, &mut facts)?, facts));
    let mut appliance = ApplianceSession::open(spec, choose, progress).await?;
    let image = MountedImage::survey(&mut appliance, root).await?;
    let mounting = async { image.enter(false, true).await };
    appliance.work(mounting).await?;
    appliance.supervisor = Supervisor::of_one_machine();
    Ok(SessionMachine::Appliance(Box::new(appliance)))
}
