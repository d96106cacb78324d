//! Keeping what a guest has written.

use std::path::PathBuf;

use clap::ValueHint;

use crate::launch::Failure;
use crate::launch::keep::{Keep, KeepSpec};
use crate::launch::prepare::PreparedVm;

/// What is kept of a run.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Keep")]
pub struct KeepArgs {
    /// At the end, make an image of the overlay: a qcow2 file over the image
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    keep: Option<PathBuf>,
    /// Make it an image of all that is on the disk, which needs no other file
    #[arg(long, requires = "keep")]
    keep_full: bool,
    /// Replace the file of --keep if it exists
    #[arg(long, requires = "keep")]
    force: bool,
}

impl KeepArgs {
    /// The files that will be kept, without names until then.
    pub(crate) fn create(&self, vm: &PreparedVm) -> Result<Option<Keep>, Failure> {
        let Some(path) = &self.keep else {
            return Ok(None);
        };
        let spec = KeepSpec {
            path: path.clone(),
            full: self.keep_full,
            force: self.force,
        };
        Keep::create(&spec, &vm.drives, vm.plan.disks.len()).map(Some)
    }
}
