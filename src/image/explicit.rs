//! What the user asks for: an image, and as much of its chain as is given explicitly.
//!
//! As typed: the file system is not consulted.

use super::format::{Format, UnknownFormat};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// An image to resolve.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The top image.
    pub image: PathBuf,
    /// Its declared format (`--format`).
    pub format: Option<Format>,
    /// The explicit layers below it (`--backing`), from the top down.
    pub backing: Vec<Explicit>,
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

/// Why a `--backing` cannot be read.
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

impl FromStr for Explicit {
    type Err = ExplicitError;

    fn from_str(value: &str) -> Result<Self, ExplicitError> {
        Self::parse(value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_layer_is_a_format_a_colon_and_any_path() {
        let layer = |format, path: &str| {
            Ok(Explicit::Layer {
                format,
                path: path.into(),
            })
        };
        assert_eq!("raw:a:b.img".parse(), layer(Format::Raw, "a:b.img"));
        assert_eq!("vhd:/x".parse(), layer(Format::Vpc, "/x"));
        assert_eq!("none".parse(), Ok(Explicit::End));
        assert_eq!("raw:".parse::<Explicit>(), Err(ExplicitError::Shape));
        assert_eq!("a.img".parse::<Explicit>(), Err(ExplicitError::Shape));
        assert!(matches!(
            "nbd:x".parse::<Explicit>(),
            Err(ExplicitError::Format(_))
        ));
        let bytes = OsStr::from_bytes(b"raw:\xff");
        let path = PathBuf::from(OsStr::from_bytes(b"\xff"));
        assert_eq!(
            Explicit::parse(bytes),
            Ok(Explicit::Layer {
                format: Format::Raw,
                path
            })
        );
    }
}
