//! The host's requests about disks. Each runs in a process of its own: disks may take long to
//! appear, and reading them may block.

use std::path::Path;
use std::time::Duration;

use super::apply::{apply, mount_for_commands};
use super::encrypted::{self, Held};
use super::modules::Modules;
use super::{survey, sysfs};
use crate::protocol::crypt::Unlock;
use crate::protocol::disks::Mount;
use crate::protocol::warning::{Warning, WarningCode};
use crate::protocol::{ErrorStage, RemoteError, Response};

/// How long disks may take to appear in an emulated machine.
const DISK_TIMEOUT: Duration = Duration::from_secs(20);
/// The virtio device type of a SCSI controller (VIRTIO_ID_SCSI).
const VIRTIO_SCSI: u32 = 8;

pub(crate) fn survey(disks: usize) -> Response {
    let (mut modules, warnings) = wait_for_disks(disks);
    let mut survey = survey::survey(&mut modules);
    survey.warnings.extend(warnings);
    Response::Survey(Box::new(survey))
}

/// [`survey`], which stops at each encrypted volume until the host has said what becomes of it.
pub(crate) fn survey_unlocking(disks: usize) -> Response {
    let (mut modules, warnings) = wait_for_disks(disks);
    let inventory = survey::begin(&mut modules);
    encrypted::proceed(Held::new(inventory, modules, warnings))
}

/// Goes on with a survey that stopped.
pub(crate) fn unlock(answers: &[Unlock]) -> Result<Response, RemoteError> {
    let held = Held::take().ok_or_else(|| {
        RemoteError::new(
            ErrorStage::Request,
            "there is no survey that waits for keys",
        )
    })?;
    Ok(encrypted::unlock(held, answers))
}

/// Loads every module, and frees the memory of their files. Disks get no I/O scheduler.
pub(crate) fn load_modules() -> Response {
    Modules::of_the_appliance().load_all();
    sysfs::leave_out_schedulers();
    Response::Done
}

/// Loads the drivers that the disks need, and waits for the disks. Returns one warning for each
/// step that failed.
pub(crate) fn wait_for_disks(disks: usize) -> (Modules, Vec<Warning>) {
    let mut modules = Modules::of_the_appliance();
    let mut warnings = Vec::new();
    if sysfs::count() < disks
        && sysfs::has_virtio(VIRTIO_SCSI)
        && let Err(error) = modules.load("scsi")
    {
        warnings.push(Warning::general(
            WarningCode::Disk,
            format!("cannot load the SCSI modules: {error}"),
        ));
    }
    let found = sysfs::wait_for(disks, DISK_TIMEOUT);
    if found < disks {
        warnings.push(Warning::general(
            WarningCode::Disk,
            format!("only {found} of {disks} disks appeared"),
        ));
    }
    (modules, warnings)
}

/// Mounts a plan at `target`; fails if its root cannot be mounted.
pub(crate) fn mount(
    mounts: &[Mount],
    target: &Path,
    read_only: bool,
    for_commands: bool,
) -> Result<Response, RemoteError> {
    let mut mounts = mounts.to_vec();
    if read_only {
        for mount in mounts.iter_mut().filter(|mount| mount.kind.is_some()) {
            mount.options.push("ro".to_owned());
        }
    }
    let mut failed =
        apply(&mounts, target, &mut Modules::of_the_appliance()).map_err(|error| RemoteError {
            step: error.stage(),
            errno: error.errno(),
            text: error.with_cause(),
        })?;
    if for_commands {
        failed.extend(mount_for_commands(target));
    }
    Ok(Response::Mounted { failed })
}
