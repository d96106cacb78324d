//! The file of `--report`.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::output_files;
use crate::launch::Failure;

#[derive(Debug)]
pub(crate) struct ReportFile {
    file: Option<File>,
    /// A regular file, which can be written again; a pipe only gets the final report.
    is_regular: bool,
}

impl ReportFile {
    /// Opens the file at once, so that a bad path fails early, and writes what the report says
    /// until the work is done.
    pub fn open(path: Option<&Path>, unfinished: &impl Serialize) -> Result<Self, Failure> {
        let file = path.map(output_files::report).transpose()?;
        let is_regular = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_file());
        let mut report = Self {
            is_regular: file.as_ref().is_some_and(is_regular),
            file,
        };
        if report.is_regular {
            report.write(unfinished)?;
        }
        Ok(report)
    }

    pub fn write(&mut self, report: &impl Serialize) -> Result<(), Failure> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut text = serde_json::to_vec_pretty(report).context("writing the report")?;
        text.push(b'\n');
        if self.is_regular {
            file.rewind()
                .and_then(|()| file.set_len(0))
                .context("writing the report")?;
        }
        file.write_all(&text).context("writing the report")?;
        Ok(())
    }
}

/// The outcome of work whose report was written, or not. If the work failed, that counts for more
/// than a missing report, but both are told.
pub(crate) fn with_report<T>(
    outcome: Result<T, Failure>,
    written: Result<(), Failure>,
    is_success: impl FnOnce(&T) -> bool,
) -> Result<T, Failure> {
    match (written, outcome) {
        (Ok(()), outcome) => outcome,
        (Err(unwritten), Ok(done)) if is_success(&done) => Err(unwritten),
        (Err(unwritten), outcome) => {
            tracing::warn!("{:#}", unwritten.error);
            outcome
        }
    }
}
