//! What a person asks for: an image, and as much of its chain as is told explicitly.
//!
//! Purely what was typed: no path is looked at.

use super::format::{Format, UnknownFormat};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The top image.
    pub image: PathBuf,
    /// Its format, where it is told (`--format`).
    pub format: Option<Format>,
    /// The layers below it, as far as they are told (`--backing`), from the top down.
    pub backing: Vec<Stated>,
}

impl Request {
    /// A request that states nothing but the image.
    pub fn of(image: impl Into<PathBuf>) -> Self {
        Self {
            image: image.into(),
            ..Self::default()
        }
    }
}

/// One `--backing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stated {
    /// `FORMAT:PATH`: the next layer down.
    Layer {
        /// Its format.
        format: Format,
        /// Its path, relative to the working directory.
        path: PathBuf,
    },
    /// `none`: the chain ends here, whatever the header records.
    End,
}

/// Why a `--backing` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatedError {
    /// No colon, or nothing behind it.
    #[error("neither FORMAT:PATH nor none")]
    Shape,
    /// A format name that is not known.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
}

impl Stated {
    /// Reads `FORMAT:PATH` or `none`; the path may hold any bytes.
    pub fn parse(value: &OsStr) -> Result<Self, StatedError> {
        let bytes = value.as_bytes();
        if bytes == b"none" {
            return Ok(Self::End);
        }
        let colon = bytes
            .iter()
            .position(|byte| *byte == b':')
            .ok_or(StatedError::Shape)?;
        let (format, path) = (&bytes[..colon], &bytes[colon + 1..]);
        if path.is_empty() {
            return Err(StatedError::Shape);
        }
        let format = String::from_utf8_lossy(format).parse()?;
        Ok(Self::Layer {
            format,
            path: PathBuf::from(OsStr::from_bytes(path)),
        })
    }
}

impl FromStr for Stated {
    type Err = StatedError;

    fn from_str(value: &str) -> Result<Self, StatedError> {
        Self::parse(value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stated_layer_is_a_format_a_colon_and_any_path() {
        let layer = |format, path: &str| {
            Ok(Stated::Layer {
                format,
                path: path.into(),
            })
        };
        assert_eq!("raw:a:b.img".parse(), layer(Format::Raw, "a:b.img"));
        assert_eq!("vhd:/x".parse(), layer(Format::Vpc, "/x"));
        assert_eq!("none".parse(), Ok(Stated::End));
        assert_eq!("raw:".parse::<Stated>(), Err(StatedError::Shape));
        assert_eq!("a.img".parse::<Stated>(), Err(StatedError::Shape));
        assert!(matches!(
            "nbd:x".parse::<Stated>(),
            Err(StatedError::Format(_))
        ));
        let bytes = OsStr::from_bytes(b"raw:\xff");
        let path = PathBuf::from(OsStr::from_bytes(b"\xff"));
        assert_eq!(
            Stated::parse(bytes),
            Ok(Stated::Layer {
                format: Format::Raw,
                path
            })
        );
    }
}
