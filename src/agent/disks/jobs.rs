//! What the host may ask for of disks, each in a process of its own: disks may be slow to come,
//! and reading them may block.

use std::path::Path;
use std::time::Duration;

use super::modules::Modules;
use super::mount::{self, MountError};
use super::sysfs;
use crate::guest::wire::disks::Mount;
use crate::guest::wire::{ErrorStage, RemoteError, Response};

/// How long disks may take to appear, in a machine that is emulated.
const PATIENCE: Duration = Duration::from_secs(20);
/// The virtio device that is a SCSI controller (VIRTIO_ID_SCSI).
const VIRTIO_SCSI: u32 = 8;

/// Waits for `disks` disks, and looks at all there are.
pub fn survey(disks: usize) -> Response {
    let (mut modules, warnings) = ready(disks);
    let mut survey = super::survey(&mut modules);
    survey.warnings.extend(warnings);
    Response::Survey(Box::new(survey))
}

/// Loads every module and gives the memory of their files back.
pub fn warm() -> Response {
    Modules::of_the_appliance().load_all();
    Response::Done
}

/// Loads what disks need, and waits for them. Gives one sentence for each thing that failed.
pub fn ready(disks: usize) -> (Modules, Vec<String>) {
    let mut modules = Modules::of_the_appliance();
    let mut warnings = Vec::new();
    if sysfs::count() < disks
        && sysfs::has_virtio(VIRTIO_SCSI)
        && let Err(error) = modules.load("scsi")
    {
        warnings.push(format!("the modules of SCSI: {error}"));
    }
    let there = sysfs::wait_for(disks, PATIENCE);
    if there < disks {
        warnings.push(format!("{there} disks of {disks} appeared"));
    }
    sysfs::find_partitions();
    (modules, warnings)
}

/// Mounts a plan at `target`.
///
/// # Errors
/// Where the root of it cannot be mounted.
pub fn mount(
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
    let mut failed = mount::plan(&mounts, target, &mut Modules::of_the_appliance())
        .map_err(|error| remote_error(&error))?;
    if for_commands {
        failed.extend(mount::for_commands(target));
    }
    Ok(Response::Mounted { failed })
}

fn remote_error(error: &MountError) -> RemoteError {
    let errno = match error {
        MountError::Refused(.., source)
        | MountError::Module(_, source)
        | MountError::Place(_, source) => source.raw_os_error(),
        MountError::NoDriver(_) | MountError::NoFilesystem(_) => None,
    };
    RemoteError {
        step: ErrorStage::Disk,
        errno,
        text: mount::chain(error),
    }
}
