//! Opens the images of a machine.

use std::path::PathBuf;

use super::failure::Failure;
use crate::image::Format;
use crate::image::chain::{self, Chain, Request};
use crate::image::open_image::OpenedImage;
use crate::text::escape::Quoted;

/// Opens an image and its layers, and prints warnings about them.
pub(crate) fn resolve(request: &Request) -> Result<Chain, Failure> {
    open(request, true)
}

/// Opens an image and its layers, and prints warnings about them if it `warns`.
pub(super) fn open(request: &Request, warns: bool) -> Result<Chain, Failure> {
    let copy = request.opened.as_ref().and_then(OpenedImage::copy);
    let chain = chain::resolve(request).map_err(|error| match copy {
        // What helps with a file does not help with a copy that has no name.
        Some(copy) => Failure::with_hint(error, &*copy.hint),
        None => error.into(),
    })?;
    if !warns {
        return Ok(chain);
    }
    for layer in chain.layers() {
        if let Some(remark) = layer.remark() {
            tracing::debug!("{remark}");
        }
        for warning in layer.warnings() {
            tracing::warn!("{}: {warning}", Quoted(layer.path()));
        }
    }
    Ok(chain)
}

pub(super) fn of_format(image: PathBuf, format: Option<Format>) -> Request {
    Request {
        format,
        ..Request::of(image)
    }
}
