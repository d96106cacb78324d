//! What the user asks for: an image, and as much of its chain as is given explicitly.
//!
//! As typed: the file system is not consulted.

use super::format::{Format, UnknownFormat};
use super::open_image::OpenedImage;
use super::trust::Trust;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Which argument names an image. Hints differ in the option that states its format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GivenAs {
    /// IMAGE, with `--format`.
    #[default]
    Image,
    /// `--disk`, with `format=`.
    Disk,
    /// `--cdrom`, which is always raw.
    Cdrom,
}

#[derive(Clone, Debug, Default)]
pub struct Request {
    pub image: PathBuf,
    pub given_as: GivenAs,
    /// Its declared format (`--format`).
    pub format: Option<Format>,
    /// The explicit layers below it (`--backing`), from the top down.
    pub backing: Vec<Explicit>,
    /// Where the names in headers may lead.
    pub trust: Trust,
    /// The image, if it is open already.
    pub opened: Option<OpenedImage>,
}

impl Request {
    /// A request for an image of which nothing is given explicitly.
    pub fn of(image: impl Into<PathBuf>) -> Self {
        Self {
            image: image.into(),
            ..Self::default()
        }
    }
}

/// One `--backing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explicit {
    /// `FORMAT:PATH`: the next layer down; the path may be relative to the working directory.
    Layer { format: Format, path: PathBuf },
    /// `none`: the chain ends here, whatever the header records.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplicitError {
    #[error("neither FORMAT:PATH nor none")]
    Shape,
    #[error(transparent)]
    Format(#[from] UnknownFormat),
}

impl Explicit {
    /// Reads `FORMAT:PATH` or `none`; the path may hold any bytes.
    pub fn parse(value: &OsStr) -> Result<Self, ExplicitError> {
        let bytes = value.as_bytes();
        if bytes == b"none" {
            return Ok(Self::End);
        }
        let mut parts = bytes.splitn(2, |byte| *byte == b':');
        let (Some(format), Some(path @ [_, ..])) = (parts.next(), parts.next()) else {
            return Err(ExplicitError::Shape);
        };
        Ok(Self::Layer {
            format: String::from_utf8_lossy(format).parse()?,
            path: OsStr::from_bytes(path).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_layer_is_a_format_a_colon_and_any_path() {
        let parse = |value: &[u8]| Explicit::parse(OsStr::from_bytes(value));
        let layer = |format, path: &[u8]| {
            let path = OsStr::from_bytes(path).into();
            Ok(Explicit::Layer { format, path })
        };
        assert_eq!(parse(b"raw:a:b.img"), layer(Format::Raw, b"a:b.img"));
        assert_eq!(parse(b"vhd:/x"), layer(Format::Vpc, b"/x"));
        assert_eq!(parse(b"raw:\xff"), layer(Format::Raw, b"\xff"));
        assert_eq!(parse(b"none"), Ok(Explicit::End));
        assert_eq!(parse(b"raw:"), Err(ExplicitError::Shape));
        assert_eq!(parse(b"a.img"), Err(ExplicitError::Shape));
        assert!(matches!(parse(b"nbd:x"), Err(ExplicitError::Format(_))));
    }
}
