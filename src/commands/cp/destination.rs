//! Where a copy goes and what its name is, by the rules of cp(1).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Must exist.
    pub directory: PathBuf,
    pub name: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DestinationError {
    /// Several sources, and a destination that is not a directory.
    #[error("{0:?} is not a directory, and there are several files to copy")]
    NoDirectory(PathBuf),
    /// A path that has no last name, such as `..`.
    #[error("{0:?} has no name")]
    NoName(PathBuf),
}

impl DestinationError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDirectory(path) => {
                let path = crate::text::escape::shell_word(path);
                Some(format!("mkdir {path}"))
            }
            Self::NoName(_) => Some("another directory".to_owned()),
        }
    }
}

/// The canonical path of a directory on this host, or of the one that a link leads to.
pub fn directory(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().filter(|path| path.is_dir())
}

/// Where the file or tree with the name `source` goes, one of `several` or not; `directory` is what
/// [`directory`] says of `typed`. The root of an image has no name: its content goes into the
/// directory itself.
pub fn destination(
    typed: &Path,
    directory: Option<&Path>,
    source: Option<&[u8]>,
    several: bool,
) -> Result<Destination, DestinationError> {
    match (directory, source) {
        (Some(_), Some(name)) => Ok(Destination {
            directory: typed.to_owned(),
            name: name.to_owned(),
        }),
        (Some(path), None) => named(path),
        (None, _) if several => Err(DestinationError::NoDirectory(typed.to_owned())),
        (None, _) => named(typed),
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
        here: Option<&Path>,
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
        let directory = Some(Path::new("/srv/out"));
        assert_eq!(go("out", directory, Some("etc"), false), to("out", "etc"));
        assert_eq!(go(".", directory, Some("etc"), true), to(".", "etc"));
        assert_eq!(go("new", None, Some("etc"), false), to(".", "new"));
        assert_eq!(go("a/new/", None, Some("etc"), false), to("a", "new"));
        assert_eq!(go("/new", None, Some("etc"), false), to("/", "new"));
        assert_eq!(go("new", None, Some("etc"), true), None);
        // The root itself.
        assert_eq!(go("new", None, None, false), to(".", "new"));
        assert_eq!(go(".", directory, None, false), to("/srv", "out"));
        assert_eq!(go("/", Some(Path::new("/")), None, false), None);
        assert_eq!(go("..", None, Some("etc"), false), None);
    }

    #[test]
    fn every_mistake_has_its_hint() {
        let error = destination(Path::new("a b"), None, Some(b"x"), true).unwrap_err();
        assert_eq!(error.hint().unwrap(), "mkdir 'a b'");
    }
}
