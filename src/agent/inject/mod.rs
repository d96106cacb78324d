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
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;

use super::root::RootDir;
use crate::protocol::inject::{Injection, Stage};
use crate::protocol::{ErrorStage, RemoteError};

/// Injects this program into the root at `at`. Fails if nothing in the image could start it, or
/// if the image cannot be written to.
pub(crate) fn inject(at: &Path, stage: Stage) -> Result<Injection, RemoteError> {
    let program = File::open("/proc/self/exe")
        .map_err(|error| RemoteError::of(ErrorStage::Process, "the agent's program", error))?;
    inject_program(&RootDir::of_request(at)?, &program, stage)
}

fn inject_program(root: &RootDir, program: &File, stage: Stage) -> Result<Injection, RemoteError> {
    let (injection, actions) = plan::plan(root, program, stage)?;
    for action in &actions {
        image_writer::apply(root, program, action)
            .map_err(|errno| RemoteError::of(ErrorStage::File, action.path(), errno))?;
    }
    Ok(injection)
}
