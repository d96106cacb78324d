//! Opens images and chooses where overlays go.

use super::failure::Failure;
use super::spec::OverlaySpec;
use crate::host::scratch::Scratch;
use crate::image::chain::{self, Chain, Request};
use crate::machine::overlay::Place;
use crate::text::escape::Quoted;

/// Where overlays go.
pub(crate) fn place(spec: &OverlaySpec) -> Result<Place, Failure> {
    if spec.in_memory {
        return Ok(Place::Memory);
    }
    let scratch = Scratch::choose(spec.directory.as_deref())?;
    if let Some(warning) = scratch.warning() {
        tracing::warn!("{warning}");
    }
    Ok(Place::Directory(scratch))
}

/// Opens an image and its layers, and prints warnings about them.
pub(crate) fn resolve(request: &Request) -> Result<Chain, Failure> {
    let chain = chain::resolve(request)?;
    for layer in chain.layers() {
        for warning in layer.warnings() {
            tracing::warn!("{}: {warning}", Quoted(layer.path()));
        }
    }
    Ok(chain)
}
