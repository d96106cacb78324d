//! `bivouac chain`: the backing chain of an image.

use super::Failure;
use std::path::PathBuf;

/// Arguments of `bivouac chain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk image
    pub image: PathBuf,
}

/// What was found.
#[derive(Debug, serde::Serialize)]
pub struct Report {}

/// Resolves the chain.
pub fn run(_args: &Args) -> Result<Report, Failure> {
    Ok(Report {})
}
