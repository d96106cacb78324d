//! A layer's place in its chain: where it is, and what led there.
//!
//! It looks around in directories only when an error needs a mend, and opens nothing.

use super::format::Format;
use crate::text::escape::{Quoted, as_path};
use std::fmt;
use std::path::{Path, PathBuf};

/// A layer's place: its path, and the layer whose header led there.
#[derive(Clone, Debug)]
pub struct Place {
    /// Absolute, as spelled or resolved.
    pub path: PathBuf,
    /// `None` for the top and for layers that `--backing` states.
    pub named_by: Option<NamedBy>,
}

/// The layer above, and what its header records.
#[derive(Clone, Debug)]
pub struct NamedBy {
    /// The layer above.
    pub layer: PathBuf,
    /// The recorded name.
    pub name: Vec<u8>,
    /// The recorded format, where it is recorded and known.
    pub format: Option<Format>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Quoted(&self.path))?;
        match &self.named_by {
            None => Ok(()),
            Some(NamedBy { layer, name, .. }) => {
                write!(
                    f,
                    ", the backing file {} of {}",
                    Quoted(as_path(name)),
                    Quoted(layer)
                )?;
                // In the middle of a sentence the apposition ends with a comma.
                f.write_str(if f.alternate() { "," } else { "" })
            }
        }
    }
}

/// Where the file would be if it had been moved together with the layer above.
pub(super) fn beside(place: &Place) -> Option<PathBuf> {
    let layer = &place.named_by.as_ref()?.layer;
    Some(layer.parent()?.join(place.path.file_name()?))
}

/// The first directory on the way to `path` that may not be searched, else `path` itself.
pub(super) fn denying(path: &Path) -> PathBuf {
    use nix::unistd::{AccessFlags, access};
    let mut ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
    ancestors.reverse();
    let closed = ancestors
        .into_iter()
        .find(|directory| access(*directory, AccessFlags::X_OK).is_err());
    closed.unwrap_or(path).to_owned()
}
