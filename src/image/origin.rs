//! Where a layer comes from: its path, and the header that names it.

use super::explicit::{GivenAs, Request};
use super::format::Format;
use super::open_image::OpenedImage;
use super::remote_url::scheme_length;
use super::trust::{Access, Right};
use crate::text::escape::{Quoted, as_path, shell_word};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The path of a layer, and the header that led to it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Absolute; symbolic links are not resolved.
    pub path: PathBuf,
    /// `None` for the top image and for layers given with `--backing`.
    pub named_by: Option<BackingRef>,
    pub right: Right,
    pub access: Access,
    /// The argument that names it, and what is typed there.
    argument: (GivenAs, PathBuf),
}

/// A backing file as recorded in the header of the layer above it.
#[derive(Clone, Debug)]
pub struct BackingRef {
    /// The layer whose header it is.
    pub layer: PathBuf,
    pub name: Vec<u8>,
    /// The recorded format, if there is one and it is known.
    pub format: Option<Format>,
}

impl Origin {
    /// A file that the user named as an image.
    pub fn given(path: &Path) -> Self {
        Self {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            named_by: None,
            right: Right::Given,
            access: Access::Path,
            argument: (GivenAs::Image, path.to_owned()),
        }
    }

    /// A layer of `--backing`.
    pub fn stated(path: &Path) -> Self {
        Self {
            right: Right::Stated,
            ..Self::given(path)
        }
    }

    /// The top image of a request.
    pub fn requested(request: &Request) -> Self {
        let opened = request.opened.as_ref();
        let given = match opened {
            Some(OpenedImage::Copy(copy)) => Self::given(&copy.path),
            // No path, which would be made absolute.
            Some(OpenedImage::Remote(remote)) => Self {
                path: remote.url.as_str().into(),
                ..Self::given(&request.image)
            },
            Some(OpenedImage::File(_)) | None => Self::given(&request.image),
        };
        Self {
            argument: (request.given_as, request.image.clone()),
            access: opened.map_or(Access::Path, |image| Access::Opened(image.clone())),
            ..given
        }
    }

    /// A file that a header names, below an image that is `given_as` says.
    pub fn named(
        path: PathBuf,
        by: BackingRef,
        (right, access): (Right, Access),
        given_as: GivenAs,
    ) -> Self {
        Self {
            argument: (given_as, path.clone()),
            path,
            named_by: Some(by),
            right,
            access,
        }
    }

    /// The option that states `format` for this image.
    pub fn format_option(&self, format: Format) -> String {
        let (given_as, typed) = &self.argument;
        if *given_as != GivenAs::Disk {
            return format!("--format {format}");
        }
        // A comma in the name of a file is doubled there.
        let bytes = typed.as_os_str().as_bytes();
        let mut value: Vec<u8> = bytes
            .split(|byte| *byte == b',')
            .collect::<Vec<_>>()
            .join(&b",,"[..]);
        value.extend(format!(",format={format}").bytes());
        format!("--disk {}", shell_word(as_path(&value)))
    }

    /// As typed.
    pub fn typed(&self) -> &Path {
        &self.argument.1
    }

    /// Whether a URL was typed where it could be opened with `--remote`.
    pub fn is_url(&self) -> bool {
        let (given_as, typed) = &self.argument;
        let is_url = || scheme_length(typed.as_os_str().as_bytes()).is_some();
        self.right == Right::Given && *given_as != GivenAs::Cdrom && is_url()
    }

    /// Whether it is an image of a server.
    pub fn is_remote(&self) -> bool {
        matches!(self.access, Access::Opened(OpenedImage::Remote(_)))
    }

    /// Whether `--backing` states what is below the image.
    pub fn has_backing_option(&self) -> bool {
        self.argument.0 == GivenAs::Image
    }

    /// Whether the user may state a format.
    pub fn has_format_option(&self) -> bool {
        self.argument.0 != GivenAs::Cdrom
    }

    /// Whether a file of the same name lies beside the layer above: then the chain was moved.
    pub fn was_moved(&self) -> bool {
        let beside = || {
            let layer = &self.named_by.as_ref()?.layer;
            Some(layer.parent()?.join(self.path.file_name()?))
        };
        beside().is_some_and(|path| path.exists())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Quoted(&self.path))?;
        let Some(BackingRef { layer, name, .. }) = &self.named_by else {
            return Ok(());
        };
        let (name, layer) = (Quoted(as_path(name)), Quoted(layer));
        write!(f, ", the backing file {name} of {layer}")?;
        // `{:#}`: in the middle of a sentence, a comma follows.
        f.write_str(if f.alternate() { "," } else { "" })
    }
}
