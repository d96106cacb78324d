//! Where a layer comes from: its path, and the header that names it.

use super::format::Format;
use crate::text::escape::{Quoted, as_path};
use std::fmt;
use std::path::{Path, PathBuf};

/// The path of a layer, and the header that led to it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Absolute; symbolic links are not resolved.
    pub path: PathBuf,
    /// `None` for the top image and for layers given with `--backing`.
    pub named_by: Option<BackingRef>,
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
    /// A file that the user named.
    pub fn given(path: &Path) -> Self {
        Self {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            named_by: None,
        }
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
