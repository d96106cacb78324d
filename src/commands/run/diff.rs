//! `run --diff`: what the run has changed on its disks, to a file or to standard error.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueHint;

use crate::commands::diff::overlays::diff_overlays;
use crate::commands::diff::{Change, DiffOptions, format};
use crate::commands::output_files;
use crate::launch::Failure;
use crate::launch::start::Launch;

/// What is shown of the changes of a run.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Changes")]
pub(super) struct DiffArgs {
    /// At the end, show what the run has changed on its disks, on standard error or in FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true,
          value_hint = ValueHint::FilePath)]
    diff: Option<Option<PathBuf>>,
    /// Show the content of text files as a unified diff
    #[arg(long, requires = "diff")]
    diff_content: bool,
    /// Show noise too: times alone, logs, caches, ids
    #[arg(long, requires = "diff")]
    diff_all: bool,
    /// Show them as JSON, one object a line
    #[arg(long, requires = "diff")]
    diff_json: bool,
}

/// What is wanted, and the file for it.
pub(super) struct RunDiff<'a> {
    args: &'a DiffArgs,
    file: Option<File>,
}

impl DiffArgs {
    pub(super) fn open(&self, launch: &Launch<'_>) -> Result<Option<RunDiff<'_>>, Failure> {
        let Some(path) = &self.diff else {
            return Ok(None);
        };
        let open = |path| output_files::changes(path, launch.vm.drives.chains());
        let file = path.as_deref().map(open).transpose()?;
        Ok(Some(RunDiff { args: self, file }))
    }
}

impl RunDiff<'_> {
    /// Compares, and writes what was found.
    pub(super) async fn write(self, launch: &mut Launch<'_>) -> Result<(), Failure> {
        let options = DiffOptions {
            all: self.args.diff_all,
            content: self.args.diff_content,
            sums: self.args.diff_json,
            ..DiffOptions::default()
        };
        let progress = launch.progress;
        let mut file = self.file.map(BufWriter::new);
        let mut sink = async |change: Change| {
            let lines = format::lines(&change, self.args.diff_json).map_err(anyhow::Error::from)?;
            match &mut file {
                Some(file) => file.write_all(lines.as_bytes()).context("--diff")?,
                None => lines.lines().for_each(|line| progress.message(line)),
            }
            Ok(())
        };
        progress.status("comparing the disks");
        let (spec, vm) = (launch.spec, &launch.vm);
        let accelerator = vm.plan.accelerator;
        let compared = diff_overlays(spec, &vm.drives, accelerator, options, progress, &mut sink);
        let compared = compared.await;
        progress.clear_status();
        if let Some(file) = &mut file {
            file.flush().context("--diff")?;
        }
        let status = compared?.finish(progress);
        launch.facts.phases.mark("compared");
        status.map(drop)
    }
}
