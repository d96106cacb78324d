//! Where an overlay may live: a directory whose filesystem takes files without a name, its kind
//! and its free space. Never leaves a file behind, and never gives one a name that stays.

#![allow(clippy::disallowed_methods)]

use std::env;
use std::ffi::{CStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};

pub use super::filesystem::{Space, bytes};

/// Where overlays go when nothing else is said: on disk, and not cleared while we run.
pub const DEFAULT: &str = "/var/tmp";

/// Who chose the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// `--overlay-dir`
    Flag,
    /// `$TMPDIR`
    Environment,
    /// Nobody: [`DEFAULT`].
    Default,
}

/// How a file without a name is made there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// O_TMPFILE: it never has a name.
    Unnamed,
    /// The filesystem lacks that: it has a name for an instant, and is unlinked before its
    /// first byte.
    Unlinked,
}

/// A directory that takes overlays. It has taken a file already, when it was chosen.
#[derive(Clone, Debug)]
pub struct Scratch {
    directory: PathBuf,
    chosen_by: ChosenBy,
    way: Way,
}

/// Why a directory takes no overlay.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// ENOENT
    #[error("the overlay directory {} does not exist", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
        /// Who chose it.
        chosen_by: ChosenBy,
    },
    /// ENOTDIR
    #[error("the overlay directory {} is not a directory", path.display())]
    NotADirectory {
        /// What is no directory.
        path: PathBuf,
        /// Who chose it.
        chosen_by: ChosenBy,
    },
    /// EACCES
    #[error("the overlay directory {} may not be written to", path.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// Who chose it.
        chosen_by: ChosenBy,
    },
    /// EROFS
    #[error("the overlay directory {} is on a read-only filesystem", path.display())]
    ReadOnly {
        /// The directory.
        path: PathBuf,
        /// Who chose it.
        chosen_by: ChosenBy,
    },
    /// Anything else, such as no inode or no quota left.
    #[error("no overlay can be made in {}", path.display())]
    Other {
        /// The directory.
        path: PathBuf,
        /// Who chose it.
        chosen_by: ChosenBy,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

impl ScratchError {
    /// The command or the flag that helps.
    pub fn mend(&self) -> Option<String> {
        let (Self::Missing { chosen_by, .. }
        | Self::NotADirectory { chosen_by, .. }
        | Self::NotWritable { chosen_by, .. }
        | Self::ReadOnly { chosen_by, .. }
        | Self::Other { chosen_by, .. }) = self;
        Some(match (self, chosen_by) {
            (Self::Missing { path, .. }, ChosenBy::Flag) => {
                format!(
                    "`mkdir {}`, or name another with --overlay-dir",
                    path.display()
                )
            }
            (_, ChosenBy::Flag) => {
                format!("name another with --overlay-dir, or leave it out for {DEFAULT}")
            }
            (_, ChosenBy::Environment) => {
                "it is what $TMPDIR says: name another with --overlay-dir".into()
            }
            (_, ChosenBy::Default) => {
                "name one with --overlay-dir, or keep it in memory with --overlay memory".into()
            }
        })
    }
}

impl Scratch {
    /// Chooses the directory: `explicit`, else `$TMPDIR`, else [`DEFAULT`]; the first that is
    /// said has to do. Makes a file in it to be sure.
    ///
    /// # Errors
    /// Why it takes no file; it is the kernel's answer, not a guess from mode bits.
    pub fn choose(explicit: Option<&Path>) -> Result<Self, ScratchError> {
        Self::choose_from(explicit, env::var_os("TMPDIR"))
    }

    /// [`Scratch::choose`] with a `$TMPDIR` of one's own; an empty one counts as none.
    ///
    /// # Errors
    /// As [`Scratch::choose`].
    pub fn choose_from(
        explicit: Option<&Path>,
        environment: Option<OsString>,
    ) -> Result<Self, ScratchError> {
        let environment = environment
            .filter(|value| !value.is_empty())
            .map(PathBuf::from);
        let (path, chosen_by) = match (explicit, environment) {
            (Some(path), _) => (path.to_owned(), ChosenBy::Flag),
            (None, Some(path)) => (path, ChosenBy::Environment),
            (None, None) => (PathBuf::from(DEFAULT), ChosenBy::Default),
        };
        match make_in(&path) {
            Ok((_, way)) => Ok(Self {
                directory: path,
                chosen_by,
                way,
            }),
            // By kind: tempfile wraps what the kernel said.
            Err(source) => Err(match source.kind() {
                ErrorKind::NotFound => ScratchError::Missing { path, chosen_by },
                ErrorKind::NotADirectory => ScratchError::NotADirectory { path, chosen_by },
                ErrorKind::PermissionDenied => ScratchError::NotWritable { path, chosen_by },
                ErrorKind::ReadOnlyFilesystem => ScratchError::ReadOnly { path, chosen_by },
                _ => ScratchError::Other {
                    path,
                    chosen_by,
                    source,
                },
            }),
        }
    }

    /// The directory, as it was given.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Who chose it.
    pub fn chosen_by(&self) -> ChosenBy {
        self.chosen_by
    }

    /// How its files are made.
    pub fn way(&self) -> Way {
        self.way
    }

    /// A new empty file that has no name: open for reading and writing, close-on-exec, 0600.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unnamed_file(&self) -> io::Result<File> {
        make_in(&self.directory).map(|(file, _)| file)
    }

    /// The filesystem, now.
    ///
    /// # Errors
    /// What `statfs` says.
    pub fn space(&self) -> io::Result<Space> {
        Space::of(&self.directory)
    }

    /// What the user should know before a guest writes: that the directory is memory.
    pub fn warning(&self) -> Option<String> {
        let space = self.space().ok().filter(|space| space.memory)?;
        Some(format!(
            "what the guest writes takes memory: {} is a {} of {}, {} free",
            self.directory.display(),
            space.kind,
            bytes(space.size),
            bytes(space.free),
        ))
    }
}

/// A file in memory: close-on-exec, and of a name that only /proc shows.
///
/// # Errors
/// What `memfd_create` says.
pub fn memory_file(name: &CStr) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?))
}

/// O_EXCL keeps even a process that gets the descriptor from linking the file into a directory.
fn make_in(directory: &Path) -> io::Result<(File, Way)> {
    let unnamed = File::options()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE | libc::O_EXCL | libc::O_CLOEXEC)
        .open(directory);
    match unnamed {
        Ok(file) => Ok((file, Way::Unnamed)),
        Err(error) => match error.raw_os_error() {
            // ISDIR and NOENT: kernels and filesystems that take the flag for O_DIRECTORY.
            Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT) => {
                make_and_unlink(directory).map(|file| (file, Way::Unlinked))
            }
            _ => Err(error),
        },
    }
}

fn make_and_unlink(directory: &Path) -> io::Result<File> {
    let named = tempfile::Builder::new()
        .prefix(".bivouac-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    let (file, path) = named.into_parts();
    path.close()?;
    Ok(file)
}
