//! A machine that is booted to be saved: seeded, booted to where nothing is being started any
//! more, and quiet.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;

use super::assemble::Assembled;
use super::conduct;
use super::guest::{Via, WaitFor};
use super::options::Args;
use super::ready::Run;
use super::report::Facts;
use super::seeding;
use crate::commands::watch::Watch;
use crate::commands::{Failure, Voice, verdict};
use crate::guest::session::{Command, Session, SessionError};
use crate::image::chain::Chain;
use crate::image::opened::Kind;
use crate::machine::Channels;
use crate::machine::console::Sinks;
use crate::machine::plan::{ChildFd, Saving, UseOfMemory};
use crate::template::TemplateError;
use crate::template::memory;
use crate::template::saved::{Made, save};

/// How long a guest may be busy after its boot before it is saved all the same.
const MOST_BUSY: Duration = Duration::from_secs(60);

/// How long it is watched, and how much of that its CPUs may work where it is quiet.
const WATCHED: Duration = Duration::from_millis(500);
const QUIET: Duration = Duration::from_millis(75);

/// Why a machine with these images cannot be saved: that something in it has changed could not
/// be told, or nobody in it could tell its clones apart.
pub fn unfit(chains: &[Chain], args: &Args) -> Option<String> {
    if args.guest.via == Via::Qga {
        return Some("the QEMU guest agent cannot tell clones apart".to_owned());
    }
    if !args.qemu.qemu_arg.is_empty() {
        return Some("--qemu-arg may name files, whose changes would not be seen".to_owned());
    }
    let layers = || chains.iter().flat_map(Chain::layers);
    let why = |path: &std::path::Path, why| Some(format!("{} {why}", path.display()));
    if let Some(device) = layers().find(|layer| layer.kind() == Kind::BlockDevice) {
        return why(
            device.path(),
            "is a block device, whose changes leave no trace",
        );
    }
    let written = layers().find(|layer| layer.in_use())?;
    why(written.path(), "is being written by another process")
}

/// Boots the machine of `assembled` and saves it.
///
/// # Errors
/// The outer: it does not boot, or is cut short. The inner: it cannot be saved.
pub async fn build(
    assembled: &mut Assembled,
    channels: Channels,
    args: &Args,
    watch: &mut Watch,
    voice: &dyn Voice,
    facts: &mut Facts,
) -> Result<Result<Made, TemplateError>, Failure> {
    if !seeding::seed(assembled, &args.guest, watch, facts, voice).await? {
        let why = "its disks hold no system that could start bivouac's agent";
        return Ok(Err(TemplateError::Unfit(why.to_owned())));
    }
    voice.status(&format!("{}, to be saved", assembled.headline()));
    let memory = memory::new(assembled.plan.memory_mib).context("the guest's memory")?;
    assembled.plan.saving = Some(Saving {
        memory: ChildFd(memory.as_raw_fd()),
        use_of_memory: UseOfMemory::Shared,
        vacant_disks: 0,
        generation_id: true,
    });
    let mut holdings = assembled.holdings(channels, Sinks::default(), mpsc::channel(1).1);
    holdings.files.push(memory.as_fd());
    let starting = conduct::start(assembled, holdings, facts);
    let mut machine = match watch.before(starting).await {
        Ok(machine) => machine?,
        Err(end) => return Err(verdict::failure(&end, &[], &assembled.drives, None)),
    };
    if let Err(error) = machine.may_be_saved().await {
        return Ok(Err(error.into()));
    }
    if (facts.accelerator.used == Some("kvm")) != assembled.plan.accelerator.may_be_kvm() {
        return Ok(Err(TemplateError::Accelerator));
    }
    let mut run = Run {
        machine,
        watch,
        assembled,
        args,
    };
    let session = match run
        .our_agent(args.guest.wait_for != WaitFor::Basic, facts)
        .await?
    {
        Ok(session) => session,
        Err(end) => return Err(run.ended(end).into_failure()),
    };
    let process = run.machine.id();
    let calming = calm(&session, process);
    match run.watch.during(&mut run.machine, calming).await? {
        Ok(calm) => calm?,
        Err(end) => return Err(run.ended(end).into_failure()),
    }
    facts.phases.mark("booted");
    for layer in assembled.drives.chains().iter().flat_map(Chain::layers) {
        if layer.identity_now().ok() != Some(layer.identity()) {
            let why = format!("{} was changed meanwhile", layer.path().display());
            return Ok(Err(TemplateError::Unfit(why)));
        }
    }
    let overlays = assembled.drives.overlays().iter();
    let overlays = overlays.map(|overlay| overlay.as_fd().try_clone_to_owned().map(Into::into));
    let overlays = overlays.collect::<Result<_, _>>().context("the overlays")?;
    let saving = save(run.machine, &assembled.plan, memory, overlays);
    let made = match run.watch.before(saving).await {
        Ok(made) => made,
        Err(end) => return Err(verdict::failure(&end, &[], &assembled.drives, None)),
    };
    drop(session);
    facts.phases.mark("saved");
    Ok(made)
}

/// Writes everything to the disks, and waits until the guest does little: what it is still at
/// when it is saved, every clone does anew.
async fn calm(session: &Session, process: Option<u32>) -> Result<(), SessionError> {
    // What every command needs is in memory then.
    let command = Command {
        argv: ["/bin/sh", "-c", ":"].map(Into::into).into(),
        ..Command::default()
    };
    match session.exec(command).await {
        Ok(mut exec) => drop(exec.wait().await?),
        Err(SessionError::Refused(error)) => tracing::debug!("{error}"),
        Err(error) => return Err(error),
    }
    session.sync().await?;
    let started = tokio::time::Instant::now();
    let Some(mut before) = process.and_then(cpu_time) else {
        return Ok(());
    };
    while started.elapsed() < MOST_BUSY {
        tokio::time::sleep(WATCHED).await;
        let Some(now) = process.and_then(cpu_time) else {
            break;
        };
        if now.saturating_sub(before) < QUIET {
            break;
        }
        before = now;
    }
    Ok(())
}

/// The CPU time of a process so far (proc(5)).
fn cpu_time(process: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, numbers) = text.rsplit_once(')')?;
    let mut ticks = numbers.split_ascii_whitespace().skip(11);
    let mut next = || ticks.next()?.parse::<u64>().ok();
    // The kernel counts a hundred of them a second for every program on this processor.
    Some(Duration::from_millis((next()? + next()?) * 10))
}
