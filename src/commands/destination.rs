//! Where a copy goes and what its name is, by the rules of cp(1), but for symbolic links: an
//! earlier copy may have created one. A link at the end of a destination is only followed if a
//! slash follows it, and where a copy of this process may have written, none is.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use thiserror::Error;

use crate::archive::BeneathDir;
use crate::text::escape::{Quoted, shell_word};

/// A destination as it was typed, opened before anything is copied.
#[derive(Debug)]
pub struct Destination {
    typed: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A directory that exists.
    Into(BeneathDir),
    /// A name in a directory that exists.
    Named(BeneathDir, OsString),
    /// It does not exist, but an earlier copy may create it.
    Later,
}

/// Where one file or tree goes.
#[derive(Debug)]
pub struct Target {
    pub directory: BeneathDir,
    pub name: Vec<u8>,
}

#[derive(Debug, Error)]
pub enum DestinationError {
    /// Several sources, and a destination that is not a directory.
    #[error("{0:?} is not a directory, and there are several files to copy")]
    NoDirectory(PathBuf),
    /// A path that has no last name, such as `..`.
    #[error("{0:?} has no name")]
    NoName(PathBuf),
    /// It may be the user's own, or left by an earlier copy.
    #[error("{} is a symbolic link to a directory, and may be the work of a guest", Quoted(.0))]
    Link(PathBuf),
    #[error("{}", Quoted(path))]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Target {
    /// The one name that may be at the top of the copy, unless that is the directory itself.
    pub fn only(&self) -> Option<Vec<u8>> {
        (self.name != b".").then(|| self.name.clone())
    }
}

impl DestinationError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDirectory(path) => Some(format!("mkdir {}", shell_word(path))),
            Self::NoName(_) => Some("another directory".to_owned()),
            Self::Link(path) => Some(format!(
                "`{}/` copies to where it leads; `rm {0}` removes the link",
                shell_word(path)
            )),
            Self::Io { path, source } => (source.kind() == io::ErrorKind::NotFound)
                .then(|| format!("mkdir -p {}", shell_word(path))),
        }
    }
}

fn failed(path: &Path) -> impl Fn(Errno) -> DestinationError + '_ {
    |errno| DestinationError::Io {
        path: path.to_owned(),
        source: errno.into(),
    }
}

impl Destination {
    /// Opens what exists of it; at least the directory above it must.
    pub fn open(typed: &Path) -> Result<Self, DestinationError> {
        let place = match must_be_directory(typed).then(|| BeneathDir::at(typed)) {
            Some(Ok(directory)) => Place::Into(directory),
            Some(Err(errno)) if errno != Errno::ENOENT => return Err(failed(typed)(errno)),
            missing => {
                let (above, name) = split(typed)?;
                let link = typed.symlink_metadata().is_ok_and(|own| own.is_symlink());
                if missing.is_none() && link && typed.is_dir() {
                    return Err(DestinationError::Link(typed.to_owned()));
                }
                Place::Named(BeneathDir::at(above).map_err(failed(above))?, name)
            }
        };
        let typed = typed.to_owned();
        Ok(Self { typed, place })
    }

    /// [`Destination::open`] for one of several copies: an earlier one may create its directories.
    pub fn open_one_of(typed: &Path) -> Result<Self, DestinationError> {
        let later = || Self {
            typed: typed.to_owned(),
            place: Place::Later,
        };
        match Self::open(typed) {
            Ok(opened) if must_be_directory(typed) && !matches!(opened.place, Place::Into(_)) => {
                Ok(later())
            }
            Err(DestinationError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(later())
            }
            opened => opened,
        }
    }

    /// Fails unless it can take several files.
    pub fn for_several(self) -> Result<Self, DestinationError> {
        self.must_hold_several()?;
        Ok(self)
    }

    /// Fails if it is no directory, and so has no room for several files.
    pub fn must_hold_several(&self) -> Result<(), DestinationError> {
        match self.existing()? {
            Some(_) => Ok(()),
            None => Err(DestinationError::NoDirectory(self.typed.clone())),
        }
    }

    /// Where the file or tree with the name `source` goes. The root of an image has no name: its
    /// content goes into the directory itself.
    pub fn target(&self, source: Option<&[u8]>) -> Result<Target, DestinationError> {
        let no_name = || DestinationError::NoName(self.typed.clone());
        if let Some(directory) = self.existing()? {
            let name = match source {
                Some(name) => name.to_vec(),
                None if self
                    .typed
                    .canonicalize()
                    .is_ok_and(|path| path == Path::new("/")) =>
                {
                    return Err(no_name());
                }
                None => b".".to_vec(),
            };
            return Ok(Target { directory, name });
        }
        let (above, name) = split(&self.typed)?;
        let directory = match &self.place {
            Place::Named(directory, _) => directory.below(Path::new("")),
            _ => BeneathDir::at_without_links(above),
        };
        Ok(Target {
            directory: directory.map_err(failed(above))?,
            name: name.as_bytes().to_vec(),
        })
    }

    /// The directory that it is by now, if it is one.
    fn existing(&self) -> Result<Option<BeneathDir>, DestinationError> {
        let opened = match &self.place {
            Place::Into(directory) => directory.below(Path::new("")),
            Place::Named(above, name) => match above.below(Path::new(name)) {
                // A link that was left meanwhile is replaced, as a file is.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
                opened => opened,
            },
            Place::Later => match BeneathDir::at_without_links(&self.typed) {
                Err(_) if !must_be_directory(&self.typed) => return Ok(None),
                opened => opened,
            },
        };
        opened.map(Some).map_err(failed(&self.typed))
    }
}

/// Whether a path can only be that of a directory.
fn must_be_directory(path: &Path) -> bool {
    let last = path.as_os_str().as_bytes().rsplit(|&byte| byte == b'/');
    matches!(last.into_iter().next(), Some(b"" | b"." | b".."))
}

/// A path as the directory above it and its own name.
fn split(path: &Path) -> Result<(&Path, OsString), DestinationError> {
    let Some(name) = path.file_name() else {
        return Err(DestinationError::NoName(path.to_owned()));
    };
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    Ok((above.unwrap_or(Path::new(".")), name.to_owned()))
}
