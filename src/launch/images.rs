//! Opens the images of a machine.

use std::path::PathBuf;

use super::failure::Failure;
use crate::image::Format;
use crate::image::chain::{self, Chain, Request};
use crate::text::escape::Quoted;

/// Opens an image and its layers, and prints warnings about them.
pub(crate) fn resolve(request: &Request) -> Result<Chain, Failure> {
    let chain = chain::resolve(request)?;
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
