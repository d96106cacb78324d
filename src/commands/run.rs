//! `bivouac run`: a machine.

use super::Failure;

/// Arguments of `bivouac run`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What was found.
#[derive(Debug, serde::Serialize)]
pub struct Report {}

/// Examines the host.
pub fn run(_args: &Args) -> Result<Report, Failure> {
    Ok(Report {})
}
