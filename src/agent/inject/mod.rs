//! Injects the agent into a mounted root directory, so that the image's own init starts it.
//!
//! `plan` decides what to write without writing anything, by the `init` that it finds; `cloud`
//! keeps cloud-init from waiting for a network. The image is untrusted: it is read and written
//! below its root only, and no link in it leads out.
//!
//! The program goes to `/etc/bivouac`. Something must be written to `/etc` in any case to start it,
//! so this needs nothing else: `/usr` may be a read-only filesystem, `/var`, `/opt` and `/srv` may
//! be mounted late or without permission to execute, and `/run` does not survive until the boot.

mod cloud;
mod file_action;
mod image_writer;
mod init;
mod plan;
pub(super) mod port_driver;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;

use file_action::FileAction;

use super::mount::Modules;
use super::root::RootDir;
use crate::protocol::inject::{Injection, Stage};
use crate::protocol::{ErrorStage, RemoteError};

/// Injects this program into the root at `at`. Fails if nothing in the image could start it, or
/// if the image cannot be written to. With `driver`, the driver of its port goes with it, for the kernel
/// that runs: the image need not have the modules of the kernel that it will be booted with.
pub(crate) fn inject(at: &Path, stage: Stage, driver: bool) -> Result<Injection, RemoteError> {
    let program = File::open("/proc/self/exe")
        .map_err(|error| RemoteError::of(ErrorStage::Process, "the agent's program", error))?;
    let root = RootDir::of_request(at)?;
    let mut injection = inject_program(&root, &program, stage)?;
    if driver {
        let actions = port_driver::actions(&Modules::of_the_appliance().files("base"));
        apply(&root, &program, &actions)?;
        let written = actions.iter().map(|action| action.path().to_owned());
        injection.written.extend(written);
    }
    Ok(injection)
}

fn inject_program(root: &RootDir, program: &File, stage: Stage) -> Result<Injection, RemoteError> {
    let (injection, actions) = plan::plan(root, program, stage)?;
    apply(root, program, &actions)?;
    Ok(injection)
}

fn apply(root: &RootDir, program: &File, actions: &[FileAction]) -> Result<(), RemoteError> {
    actions.iter().try_for_each(|action| {
        image_writer::apply(root, program, action)
            .map_err(|errno| RemoteError::of(ErrorStage::File, action.path(), errno))
    })
}
