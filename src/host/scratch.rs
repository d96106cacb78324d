//! The directory for overlays: takes files without a name, on a filesystem of known kind and free space.
//! Leaves no file behind.

#![allow(clippy::disallowed_methods)]

use std::env;
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

pub use super::filesystem::Space;
use crate::text::size::Size;

/// Where overlays go by default: on disk, and not cleared while we run.
pub const DEFAULT: &str = "/var/tmp";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `--overlay-dir`
    Flag,
    /// `$TMPDIR`
    Environment,
    Default,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TempFileMethod {
    /// O_TMPFILE: it never has a name.
    Unnamed,
    /// The filesystem lacks O_TMPFILE: it is unlinked right after it was created.
    Unlinked,
}

/// A directory for overlays. A file has been created in it, as a test.
#[derive(Clone, Debug)]
pub struct Scratch {
    directory: PathBuf,
    chosen_by: Source,
    method: TempFileMethod,
}

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ScratchError {
    path: PathBuf,
    chosen_by: Source,
    message: String,
    is_missing: bool,
    /// `None` where the message says it all.
    #[source]
    cause: Option<io::Error>,
}

impl ScratchError {
    fn new(path: PathBuf, chosen_by: Source, cause: io::Error) -> Self {
        // By kind: tempfile wraps the kernel's error.
        let known = match cause.kind() {
            ErrorKind::NotFound => Some("does not exist"),
            ErrorKind::NotADirectory => Some("is not a directory"),
            ErrorKind::PermissionDenied => Some("is not writable"),
            ErrorKind::ReadOnlyFilesystem => Some("is on a read-only filesystem"),
            _ => None,
        };
        let name = path.display();
        Self {
            message: match known {
                Some(known) => format!("the overlay directory {name} {known}"),
                None => format!("no overlay can be created in {name}"),
            },
            is_missing: cause.kind() == ErrorKind::NotFound,
            cause: known.is_none().then_some(cause),
            path,
            chosen_by,
        }
    }

    pub fn hint(&self) -> Option<String> {
        Some(match self.chosen_by {
            Source::Flag if self.is_missing => {
                let path = self.path.display();
                format!("`mkdir {path}`, or name another with --overlay-dir")
            }
            Source::Flag => {
                format!(
                    "name another with --overlay-dir, or leave it out to use $TMPDIR or {DEFAULT}"
                )
            }
            Source::Environment => {
                "it is the value of $TMPDIR: name another with --overlay-dir".into()
            }
            Source::Default => {
                "name one with --overlay-dir, or keep it in memory with --overlay memory".into()
            }
        })
    }
}

impl Scratch {
    /// The directory `explicit`, else `$TMPDIR`, else [`DEFAULT`]. Creates a file in it to be sure.
    pub fn choose(explicit: Option<&Path>) -> Result<Self, ScratchError> {
        Self::choose_from(explicit, env::var_os("TMPDIR"))
    }

    /// [`Scratch::choose`] with another value of `$TMPDIR`; an empty one is ignored.
    pub fn choose_from(
        explicit: Option<&Path>,
        environment: Option<OsString>,
    ) -> Result<Self, ScratchError> {
        let environment = environment.filter(|value| !value.is_empty());
        let (path, chosen_by) = match (explicit, environment) {
            (Some(path), _) => (path.to_owned(), Source::Flag),
            (None, Some(path)) => (path.into(), Source::Environment),
            (None, None) => (DEFAULT.into(), Source::Default),
        };
        match create_in(&path) {
            Ok((_, method)) => Ok(Self {
                directory: path,
                chosen_by,
                method,
            }),
            Err(cause) => Err(ScratchError::new(path, chosen_by, cause)),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn chosen_by(&self) -> Source {
        self.chosen_by
    }

    pub fn method(&self) -> TempFileMethod {
        self.method
    }

    /// A new empty file without a name: open for reading and writing, close-on-exec, mode 0600.
    pub fn unnamed_file(&self) -> io::Result<File> {
        create_in(&self.directory).map(|(file, _)| file)
    }

    pub fn space(&self) -> io::Result<Space> {
        Space::of(&self.directory)
    }

    /// A warning if the directory is in memory.
    pub fn warning(&self) -> Option<String> {
        let space = self.space().ok().filter(|space| space.memory)?;
        Some(format!(
            "what the guest writes takes memory: {} is a {} of {}, {} free",
            self.directory.display(),
            space.kind,
            Size(space.size),
            Size(space.free),
        ))
    }
}

/// O_EXCL keeps even a process that gets the descriptor from linking the file into a directory.
fn create_in(directory: &Path) -> io::Result<(File, TempFileMethod)> {
    let unnamed = File::options()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE | libc::O_EXCL | libc::O_CLOEXEC)
        .open(directory);
    match unnamed {
        Ok(file) => Ok((file, TempFileMethod::Unnamed)),
        Err(error) => match error.raw_os_error() {
            // ISDIR and NOENT: kernels and filesystems that take the flag for O_DIRECTORY.
            Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT) => {
                create_and_unlink(directory).map(|file| (file, TempFileMethod::Unlinked))
            }
            _ => Err(error),
        },
    }
}

fn create_and_unlink(directory: &Path) -> io::Result<File> {
    let named = tempfile::Builder::new()
        .prefix(".bivouac-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    let (file, path) = named.into_parts();
    path.close()?;
    Ok(file)
}
