//! Images and overlays as commands name them.

use super::Failure;
use super::run::options::{OverlayArgs, OverlayKind};
use crate::host::scratch::Scratch;
use crate::image::chain::{self, Chain, Request};
use crate::machine::overlay::Place;
use crate::text::escape::Quoted;

/// Where overlays go.
///
/// # Errors
/// There is no room anywhere.
pub fn place(args: &OverlayArgs) -> Result<Place, Failure> {
    if args.overlay == OverlayKind::Memory {
        return Ok(Place::Memory);
    }
    let scratch = Scratch::choose(args.overlay_dir.as_deref())?;
    if let Some(warning) = scratch.warning() {
        tracing::warn!("{warning}");
    }
    Ok(Place::Directory(scratch))
}

/// Opens an image and its layers, and says what is odd about them.
///
/// # Errors
/// Whatever is wrong with the chain.
pub fn resolve(request: &Request) -> Result<Chain, Failure> {
    let chain = chain::resolve(request)?;
    for layer in chain.layers() {
        for warning in layer.warnings() {
            tracing::warn!("{}: {warning}", Quoted(layer.path()));
        }
    }
    Ok(chain)
}
