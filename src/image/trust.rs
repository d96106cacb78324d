//! By which right a layer is opened: where the names that headers record may lead.
//!
//! Whoever made an image chose the names in it, and any file of the host may be among them. So a
//! recorded name leads to files near the layer that records it, and elsewhere only if the user
//! says so.

use super::file_kind::FileKind;
use super::open_image::{OpenedImage, UnpackedCopy};
use crate::linux::proc_fd;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::Mode;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where recorded names may lead, besides the directory of the layer that records them, and the image's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Anywhere (`--trust-chain`).
    pub anywhere: bool,
    /// To files below these directories (`BIVOUAC_IMAGE_PATH`), which are absolute.
    pub image_path: Vec<PathBuf>,
    /// Whether an image may be a URL (`--remote`), and how long an answer of its server may take.
    pub remote: Option<Duration>,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            anywhere: false,
            image_path: vec![PathBuf::from("/var/lib/libvirt/images")],
            remote: None,
        }
    }
}

/// The right by which a layer is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// It is the image that the user named.
    Given,
    /// `--backing` names it.
    Stated,
    /// It is in the directory of the layer that records it, or below.
    Directory,
    /// It is below a directory of `BIVOUAC_IMAGE_PATH`.
    ImagePath,
    /// `--trust-chain`.
    Trusted,
}

impl fmt::Display for Right {
    /// The rest of a sentence about the layer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "named by the user",
            Self::Stated => "stated by --backing",
            Self::Directory => "in or below the directory of the layer above",
            Self::ImagePath => "below a directory of BIVOUAC_IMAGE_PATH",
            Self::Trusted => "trusted by --trust-chain",
        })
    }
}

/// How the file of a layer is opened.
#[derive(Clone, Debug)]
pub enum Access {
    /// By its path.
    Path,
    /// By its path; it has to be a block device.
    Device,
    /// Below a directory, both without symbolic links; it has to be a regular file.
    Below(PathBuf, PathBuf),
    /// It is open already.
    Opened(OpenedImage),
}

impl Access {
    /// Opens `path` with `flags`.
    pub(super) fn open(&self, path: &Path, flags: OFlag) -> io::Result<File> {
        let file = match self {
            Self::Path | Self::Device => open(path, flags, Mode::empty())?,
            Self::Below(directory, name) => beneath(directory, name, flags)?,
            Self::Opened(OpenedImage::File(file)) => return file.try_clone(),
            // There is no file.
            Self::Opened(OpenedImage::Remote(_)) => return Err(io::ErrorKind::Unsupported.into()),
            // Read-only, which the one that it was written by is not.
            Self::Opened(OpenedImage::Copy(copy)) => {
                open(&proc_fd::path(&copy.file), flags, Mode::empty())?
            }
        };
        Ok(file.into())
    }

    /// Whether no name is followed.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Opened(_))
    }

    /// The copy that is opened, if it is one.
    pub(super) fn copy(&self) -> Option<&Arc<UnpackedCopy>> {
        match self {
            Self::Opened(image) => image.copy(),
            Self::Path | Self::Device | Self::Below(..) => None,
        }
    }

    /// Whether a file of `kind` may be opened so.
    pub(super) fn admits(&self, kind: FileKind) -> bool {
        match self {
            Self::Path => true,
            Self::Device => kind == FileKind::BlockDevice,
            Self::Below(..) | Self::Opened(_) => kind != FileKind::BlockDevice,
        }
    }
}

impl Trust {
    /// The right by which a name that the layer at `above` records leads to `path`, if there is
    /// one. `devices`: that layer is a block device, and not by a guess an image.
    pub(super) fn right(
        &self,
        above: &Path,
        devices: bool,
        path: &Path,
    ) -> io::Result<Option<(Right, Access)>> {
        let real = path.canonicalize()?;
        if FileKind::from(real.metadata()?.file_type()) == FileKind::BlockDevice {
            // The names of LVM's volumes are links that lead out of their directory.
            let beside = parent(path).is_some() && parent(path) == parent(above);
            if devices && beside {
                return Ok(Some((Right::Directory, Access::Device)));
            }
        } else {
            let below = |directory: &PathBuf| real.starts_with(directory);
            let spelled = parent(above);
            let linked = above.canonicalize().ok();
            let linked = linked.and_then(|path| path.parent().map(Path::to_owned));
            let own = spelled.into_iter().chain(linked).find(below);
            let listed = || {
                let absolute = self.image_path.iter().filter(|path| path.is_absolute());
                let mut real = absolute.filter_map(|path| path.canonicalize().ok());
                real.find(below)
            };
            let found = match own {
                Some(own) => Some((Right::Directory, own)),
                None => listed().map(|listed| (Right::ImagePath, listed)),
            };
            if let Some((right, directory)) = found {
                let name = real.strip_prefix(&directory).unwrap_or(&real).to_owned();
                return Ok(Some((right, Access::Below(directory, name))));
            }
        }
        Ok(self.anywhere.then_some((Right::Trusted, Access::Path)))
    }
}

/// The directory of the file at `path`, without symbolic links.
fn parent(path: &Path) -> Option<PathBuf> {
    path.parent()?.canonicalize().ok()
}

/// Opens `name` beneath `directory`. Fails if there is a symbolic link in `name`.
fn beneath(directory: &Path, name: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let to_directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(directory, to_directory, Mode::empty())?;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    match openat2(&directory, name, how) {
        // Linux before 5.6, or a container whose filter does not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => walk(directory, name, flags),
        opened => opened,
    }
}

/// [`beneath`] without openat2(2): one component after the other.
fn walk(mut directory: OwnedFd, name: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let mut components = name.components();
    let last = components.next_back().ok_or(Errno::ENOENT)?;
    let to_directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    for (component, flags) in components
        .map(|it| (it, to_directory))
        .chain([(last, flags)])
    {
        let std::path::Component::Normal(component) = component else {
            return Err(Errno::EXDEV);
        };
        let flags = flags | OFlag::O_NOFOLLOW;
        directory = openat(&directory, component, flags, Mode::empty())?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn both_ways_to_open_below_a_directory_refuse_links_and_the_directories_above() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("in");
        fs::create_dir_all(directory.join("sub")).unwrap();
        for file in ["out", "in/file", "in/sub/file"] {
            fs::write(scratch.path().join(file), "").unwrap();
        }
        symlink("file", directory.join("link")).unwrap();
        symlink("sub", directory.join("linked")).unwrap();
        let walked = |name: &str| {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            let directory = open(&directory, flags, Mode::empty()).unwrap();
            walk(directory, Path::new(name), OFlag::O_RDONLY).is_ok()
        };
        let opened = |name: &str| beneath(&directory, Path::new(name), OFlag::O_RDONLY).is_ok();
        for name in ["file", "sub/file"] {
            assert!(opened(name) && walked(name), "{name}");
        }
        for name in [
            "link",
            "linked/file",
            "../out",
            "sub/../../out",
            "/etc/passwd",
            "",
        ] {
            assert!(!opened(name) && !walked(name), "{name}");
        }
    }
}
