//! Injects the agent before a machine boots its image: an appliance mounts each root on the
//! machine's disks, puts the agent into it, and powers off. The images are untouched, because every
//! write lands in the overlays, from which the machine boots afterwards.

use std::time::Duration;

use anyhow::{Context, anyhow};

use super::appliance;
use super::failure::Failure;
use super::outcome;
use super::spec::{Via, VmSpec};
use super::start::{Launch, RunningVm};
use super::supervisor::Interrupted;
use crate::appliance::boot::{ApplianceConfig, DEFAULT_MEMORY_MIB, ROOT, Storage};
use crate::exit::Status;
use crate::host::kernel::{self, Kernel, KernelError};
use crate::machine::end::End;
use crate::machine::phases::Phases;
use crate::protocol::disks::{Mount, Root};
use crate::protocol::inject::{Injection, Stage};
use crate::protocol::warning::Warning;
use crate::session::{Session, SessionError};

/// How long the appliance may take to power off. Everything is on the disks by then.
const POWER_OFF: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Injected {
    /// The roots that will start the agent, by their devices, and how.
    roots: Vec<(String, Injection)>,
    /// Why the others will not, and warnings about the disks, one sentence each.
    warnings: Vec<String>,
}

/// Injects the agent into the disks of a machine. False if the QEMU guest agent is to be asked
/// instead.
pub(super) async fn inject(launch: &mut Launch<'_>) -> Result<bool, Failure> {
    // An ISO in a CD-ROM drive takes no writes, and has no overlay.
    let injected = match launch.vm.plan.disks.is_empty() {
        true => Ok(Injected::default()),
        false => {
            launch.progress.status("preparing the overlay");
            in_appliance(launch).await
        }
    };
    launch.progress.clear_status();
    launch.facts.phases.mark("injected");
    let Injected { roots, warnings } = injected?;
    for (device, how) in &roots {
        let labelled = if how.labelled { ", labelled" } else { "" };
        let init = how.init.name();
        tracing::debug!("{device}: {init} will start the agent{labelled}");
    }
    for remark in &warnings {
        tracing::debug!("{remark}");
    }
    if !roots.is_empty() {
        return Ok(true);
    }
    if launch.spec.agent.via == Via::Auto {
        tracing::debug!("no system to put the agent into; asking the QEMU guest agent");
        return Ok(false);
    }
    let mut message = "no system on the disks could start bivouac's agent".to_owned();
    for remark in warnings {
        message.push_str(&format!("\n  {remark}"));
    }
    Err(Failure::with_hint(
        anyhow!(message),
        "--via qga, where the image brings the QEMU guest agent",
    ))
}

/// The kernel of the appliance, and whether the agent needs the driver of its port from there: the image
/// need not have the modules of a kernel that is not its own.
fn appliance_kernel(spec: &VmSpec) -> Result<(Kernel, bool), KernelError> {
    if let (None, Some(own)) = (&spec.agent.kernel, &spec.kernel)
        && let Ok(kernel) = kernel::find(Some(&own.kernel))
        && kernel.modules.is_some()
    {
        return Ok((kernel, true));
    }
    Ok((kernel::find(spec.agent.kernel.as_deref())?, false))
}

async fn in_appliance(launch: &mut Launch<'_>) -> Result<Injected, Failure> {
    let (spec, vm) = (launch.spec, &launch.vm);
    let (kernel, has_driver) = appliance_kernel(spec)?;
    let config = ApplianceConfig {
        qemu: vm.plan.qemu.clone(),
        accelerator: vm.plan.accelerator,
        // As much as for inspection, so that both have one template.
        memory_mib: DEFAULT_MEMORY_MIB,
        cpus: 1,
        kernel,
        sandbox: spec.sandbox.clone(),
        phases: Phases::default(),
    };
    let storage = Storage {
        drives: &vm.drives,
        disks: vm.plan.disks.clone(),
        max_write: vm.max_write,
    };
    let count = storage.disks.len();
    let failed = |interrupted: Interrupted| {
        let failure = interrupted
            .into_failure(|end, tail| outcome::failure(end, tail, &vm.drives, vm.max_write));
        match failure.status {
            // It is not the user's guest that crashed.
            Status::GuestCrashed => Failure {
                status: Status::Failed,
                ..failure.context("preparing the overlay".to_owned())
            },
            _ => failure,
        }
    };
    let supervisor = &mut launch.supervisor;
    let started = supervisor.guard(appliance::start(&config, &spec.template, &storage));
    let RunningVm {
        mut machine,
        session,
        template: _in_use,
        ..
    } = started.await??;
    let injecting = into_roots(&session, count, spec.agent.wait_for.stage(), has_driver);
    let injected = supervisor.converse(&mut machine, injecting).await;
    let injected = injected.map_err(failed)?;
    // QEMU writes what it still holds of its own tables when the machine powers off.
    let off = async {
        let _ = tokio::time::timeout(POWER_OFF, session.shutdown()).await;
        tokio::time::sleep(POWER_OFF).await;
    };
    match supervisor.run(&mut machine, off).await {
        Err(Interrupted::Ended {
            end: End::PoweredOff,
            ..
        }) => Ok(injected),
        Err(other) => Err(failed(other)),
        Ok(()) => {
            let stopped = machine.stop(Duration::ZERO).await;
            stopped.context("ending QEMU")?;
            Err(anyhow!("preparing the overlay: the appliance did not power off").into())
        }
    }
}

/// Injects the agent into every root on so many disks: which of several is booted, the boot loader
/// decides. Everything is on the disks in the end.
async fn into_roots(
    session: &Session,
    disks: usize,
    stage: Stage,
    driver: bool,
) -> Result<Injected, SessionError> {
    // For the times of the files.
    session.set_clock().await?;
    let survey = session.survey(disks).await?;
    let mut injected = Injected {
        roots: Vec::new(),
        warnings: survey.warnings.iter().map(Warning::to_string).collect(),
    };
    for root in &survey.roots {
        let device = root.device.clone();
        if root.mounts.first().is_some_and(Mount::is_in_memory) {
            let reason = "it has no root directory of its own to put the agent into";
            injected.warnings.push(format!("{device}: {reason}"));
            continue;
        }
        match into_root(session, root, stage, driver).await {
            Ok(how) => injected.roots.push((device, how)),
            Err(SessionError::Refused(error)) => {
                injected.warnings.push(format!("{device}: {error}"));
            }
            Err(error) => return Err(error),
        }
        // Also if only some of it was mounted.
        session.unmount(ROOT).await?;
    }
    session.sync().await?;
    Ok(injected)
}

async fn into_root(
    session: &Session,
    root: &Root,
    stage: Stage,
    driver: bool,
) -> Result<Injection, SessionError> {
    for failed in session.mount(&root.mounts, ROOT, false, false).await? {
        tracing::debug!("not mounted: {failed}");
    }
    session.inject(ROOT, stage, driver).await
}
