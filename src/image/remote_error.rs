//! Why an image of a server is refused. The server may be on this host.

use std::io;

use super::error::ChainError;
use super::format::Format;
use super::layer::Layer;
use super::origin::Origin;
use super::remote_image::IF_SLOW;
use crate::text::escape::{Quoted, as_path};

impl ChainError {
    /// A URL, where nothing allows that it is opened.
    pub(super) fn of_a_server(origin: &Origin) -> Self {
        let message = format!("{} is an image of a server", Quoted(origin.typed()));
        let hint = "--remote  # without it, nothing is read from servers";
        Self::new(&origin.path, message).with_hint(hint.to_owned())
    }

    pub(super) fn remote_reading(origin: &Origin, source: io::Error) -> Self {
        let is_silent = source.kind() == io::ErrorKind::TimedOut;
        Self::new(&origin.path, format!("cannot read {origin}"))
            .with_hint(is_silent.then(|| IF_SLOW.to_owned()))
            .caused_by(source)
    }

    pub(super) fn remote_empty(origin: &Origin) -> Self {
        let message = format!("{origin} is empty: there is no disk in it");
        Self::new(&origin.path, message)
    }

    /// Another format than those that are read from a server.
    pub(super) fn remote_format(origin: &Origin, format: Format) -> Self {
        let message =
            format!("{origin} is a {format} image; a server's image has to be raw or qcow2");
        let hint = "fetch it, and name the file".to_owned();
        Self::new(&origin.path, message).with_hint(hint)
    }

    /// A layer that is complete in itself, or is none: its header leads to no file of this host.
    pub(super) fn lies_on_another(layer: &Layer, name: &[u8]) -> Self {
        let (image, name) = (Quoted(layer.path()), Quoted(as_path(name)));
        let how = match layer.remote() {
            Some(_) => "is an image of a server",
            None => "was packed",
        };
        let message = format!("{image} {how}, but lies on another image, {name}");
        Self::new(layer.path(), message)
    }
}
