//! Before a machine boots its image: an appliance puts the agent into the overlay of each disk
//! that holds a system, and is over before the machine starts.

use anyhow::{Context, anyhow};

use super::assemble::Assembled;
use super::guest::{GuestArgs, Via};
use super::report::Facts;
use crate::commands::watch::Watch;
use crate::commands::{Failure, Voice, verdict};
use crate::exit::Status;
use crate::guest::boot::{Appliance, DEFAULT_MEMORY_MIB, Settings};
use crate::guest::seed::{self, Seeded};
use crate::host::kernel;
use crate::machine::end::End;
use crate::machine::phases::Phases;
use crate::template::appliance::{self as template, Started};

/// It mounts, and copies one file, and has as much as one that looks into images, so that both have
/// one template.
const MEMORY_MIB: u64 = DEFAULT_MEMORY_MIB;

/// How long the appliance may take to power off. Everything is on the disks by then.
const POWER_OFF: std::time::Duration = std::time::Duration::from_secs(10);

/// Seeds the disks of a machine. Gives false where `--via auto` is to ask the QEMU guest agent.
///
/// # Errors
/// Nothing on the disks could start the agent, or what ends a machine.
pub async fn seed(
    assembled: &Assembled,
    args: &GuestArgs,
    watch: &mut Watch,
    facts: &mut Facts,
    voice: &dyn Voice,
) -> Result<bool, Failure> {
    // An ISO in a CD-ROM drive takes no writes, and has no overlay.
    let seeded = match assembled.plan.disks.is_empty() {
        true => Ok(Seeded::default()),
        false => {
            voice.status("preparing the overlay");
            appliance(assembled, args, watch).await
        }
    };
    voice.clear_status();
    facts.phases.mark("seeded");
    let Seeded { roots, refused } = seeded?;
    for (device, seeding) in &roots {
        let labelled = if seeding.labelled { ", labelled" } else { "" };
        let init = seeding.init.name();
        tracing::debug!("{device}: {init} will start the agent{labelled}");
    }
    for refused in &refused {
        tracing::debug!("{refused}");
    }
    match (roots.is_empty(), args.via) {
        (false, _) => Ok(true),
        (true, Via::Auto) => {
            tracing::debug!("no system to put the agent into; asking the QEMU guest agent");
            Ok(false)
        }
        (true, _) => {
            let mut message = "no system on the disks could start bivouac's agent".to_owned();
            for refused in refused {
                message.push_str(&format!("\n  {refused}"));
            }
            Err(Failure::with_mend(
                anyhow!(message),
                "--via qga, where the image brings the QEMU guest agent",
            ))
        }
    }
}

async fn appliance(
    assembled: &Assembled,
    args: &GuestArgs,
    watch: &mut Watch,
) -> Result<Seeded, Failure> {
    let settings = Settings {
        qemu: assembled.plan.qemu.clone(),
        accelerator: assembled.plan.accelerator,
        memory_mib: MEMORY_MIB,
        cpus: 1,
        kernel: kernel::find(args.seed_kernel.as_deref())?,
        phases: Phases::default(),
    };
    let (drives, max_write) = (&assembled.drives, assembled.max_write);
    let disks = assembled.plan.disks.clone();
    let count = disks.len();
    let cut_short = |end: &End, tail: &[String]| {
        let mut failure = verdict::failure(end, tail, drives, max_write);
        if failure.status == Status::GuestCrashed {
            // It is not the user's guest that crashed.
            failure.status = Status::Failed;
            failure = failure.context("preparing the overlay".to_owned());
        }
        failure
    };
    let most = args.template.templates_max;
    let starting = template::start(
        args.template.no_template,
        &settings,
        most,
        drives,
        disks,
        max_write,
    );
    let Started {
        appliance: Appliance {
            mut machine,
            session,
        },
        template: _in_use,
    } = match watch.before(starting).await {
        Ok(started) => started?,
        Err(end) => return Err(cut_short(&end, &[])),
    };
    let seeding = seed::seed(&session, count, args.wait_for.stage());
    let seeded = match watch.during(&mut machine, seeding).await? {
        Ok(seeded) => seeded.map_err(|error| Failure {
            status: Status::Failed,
            ..Failure::from(error)
        })?,
        Err(end) => return Err(cut_short(&end, &machine.console_tail())),
    };
    // QEMU writes what it still holds of its own tables when the machine powers off.
    let off = async {
        let _ = tokio::time::timeout(POWER_OFF, session.shutdown()).await;
        tokio::time::sleep(POWER_OFF).await;
    };
    match watch.during(&mut machine, off).await? {
        Err(End::PoweredOff) => Ok(seeded),
        Err(end) => Err(cut_short(&end, &machine.console_tail())),
        Ok(()) => {
            machine
                .stop(std::time::Duration::ZERO)
                .await
                .context("ending QEMU")?;
            Err(anyhow!("preparing the overlay: the appliance did not power off").into())
        }
    }
}
