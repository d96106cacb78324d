//! Where a copy goes, and by which name: as cp has it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The directory that something is copied into, and the name that it gets there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// It must be there.
    pub directory: PathBuf,
    /// A single name.
    pub name: Vec<u8>,
}

/// Why nothing can be copied there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DestinationError {
    /// Several things, and no directory to put them into.
    #[error("{0:?} is no directory, and several files are to be copied")]
    NoDirectory(PathBuf),
    /// A directory that has no name to be called by, such as one that was removed.
    #[error("{0:?} has no name")]
    NoName(PathBuf),
}

impl DestinationError {
    /// What makes it right.
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::NoDirectory(path) => {
                let path = crate::text::escape::shell_word(path);
                Some(format!("mkdir {path}"))
            }
            Self::NoName(_) => Some("another directory".to_owned()),
        }
    }
}

/// What this host has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Here {
    /// A directory, or a link to one; its absolute path without links.
    Directory(PathBuf),
    /// Something else, or nothing.
    Other,
}

/// Looks what is there.
pub fn look(path: &Path) -> Here {
    match path.canonicalize() {
        Ok(whole) if whole.is_dir() => Here::Directory(whole),
        _ => Here::Other,
    }
}

/// Where the file or tree called `source` goes, one of `several` or not. The root of an image has
/// no name: what is in it goes into the directory itself.
///
/// # Errors
/// It is not clear where.
pub fn destination(
    typed: &Path,
    here: &Here,
    source: Option<&[u8]>,
    several: bool,
) -> Result<Destination, DestinationError> {
    match (here, source) {
        (Here::Directory(_), Some(name)) => Ok(Destination {
            directory: typed.to_owned(),
            name: name.to_owned(),
        }),
        (Here::Directory(whole), None) => named(whole),
        (Here::Other, _) if several => Err(DestinationError::NoDirectory(typed.to_owned())),
        (Here::Other, _) => named(typed),
    }
}

/// A path as the directory above it and its own name.
fn named(path: &Path) -> Result<Destination, DestinationError> {
    let Some(name) = path.file_name().map(OsStr::as_bytes) else {
        return Err(DestinationError::NoName(path.to_owned()));
    };
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    Ok(Destination {
        directory: above.unwrap_or(Path::new(".")).to_owned(),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(
        typed: &str,
        here: &Here,
        source: Option<&str>,
        several: bool,
    ) -> Option<(String, String)> {
        let source = source.map(str::as_bytes);
        let to = destination(Path::new(typed), here, source, several).ok()?;
        Some((
            to.directory.to_str().unwrap().to_owned(),
            String::from_utf8(to.name).unwrap(),
        ))
    }

    fn to(directory: &str, name: &str) -> Option<(String, String)> {
        Some((directory.to_owned(), name.to_owned()))
    }

    #[test]
    fn a_copy_goes_where_cp_would_put_it() {
        let directory = Here::Directory("/srv/out".into());
        assert_eq!(go("out", &directory, Some("etc"), false), to("out", "etc"));
        assert_eq!(go(".", &directory, Some("etc"), true), to(".", "etc"));
        assert_eq!(go("new", &Here::Other, Some("etc"), false), to(".", "new"));
        assert_eq!(
            go("a/new/", &Here::Other, Some("etc"), false),
            to("a", "new")
        );
        assert_eq!(go("/new", &Here::Other, Some("etc"), false), to("/", "new"));
        assert_eq!(go("new", &Here::Other, Some("etc"), true), None);
        // The root itself.
        assert_eq!(go("new", &Here::Other, None, false), to(".", "new"));
        assert_eq!(go(".", &directory, None, false), to("/srv", "out"));
        assert_eq!(go("/", &Here::Directory("/".into()), None, false), None);
        assert_eq!(go("..", &Here::Other, Some("etc"), false), None);
    }

    #[test]
    fn every_mistake_has_its_mend() {
        let error = destination(Path::new("a b"), &Here::Other, Some(b"x"), true).unwrap_err();
        assert_eq!(error.mend().unwrap(), "mkdir 'a b'");
    }
}
