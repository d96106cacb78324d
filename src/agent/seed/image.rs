//! An image's root: what is in it, and putting something into it. Every path is resolved below
//! the root by the kernel, and a file that is made replaces what is there: it is never written
//! through a link or into a device.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::super::resolve::Root;
use crate::guest::wire::RemoteError;
use crate::linux::proc_fd::c_path_in;

/// The attribute that SELinux keeps its labels in.
const LABEL: &std::ffi::CStr = c"security.selinux";

/// How many names of a directory are looked at.
const MOST_NAMES: usize = 10_000;

const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// An image's root.
#[derive(Debug)]
pub struct Image {
    root: Root,
}

impl Image {
    /// The one that is mounted at a directory.
    ///
    /// # Errors
    /// It is no directory.
    pub fn at(path: &Path) -> Result<Self, RemoteError> {
        Root::open(path).map(|root| Self { root })
    }

    /// Whether there is such a file, behind links.
    pub fn has(&self, path: &str) -> bool {
        self.place(path).is_ok()
    }

    /// Whether there is such a directory.
    pub fn has_directory(&self, path: &str) -> bool {
        let found = self.root.look_up(Path::new(path), PLACE, Mode::empty());
        found.is_ok()
    }

    /// Whether two names lead to one file.
    pub fn is_same(&self, one: &str, other: &str) -> bool {
        let identity = |path| {
            let stat = fstat(self.place(path).ok()?).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        identity(one).is_some_and(|one| Some(one) == identity(other))
    }

    /// The text of a small regular file.
    pub fn text(&self, path: &str) -> Option<String> {
        self.regular(path)?;
        let bytes = self.root.read_small(Path::new(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The first bytes of a regular file.
    pub fn head<const N: usize>(&self, path: &str) -> Option<[u8; N]> {
        self.regular(path)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = self.root.look_up(Path::new(path), flags, Mode::empty());
        let mut head = [0; N];
        File::from(file.ok()?).read_exact(&mut head).ok()?;
        Some(head)
    }

    /// The names in a directory, sorted; none where it is none.
    pub fn names(&self, path: &str) -> Vec<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let found = self.root.look_up(Path::new(path), flags, Mode::empty());
        let directory = found.and_then(Dir::from_fd);
        let names = directory.into_iter().flatten().flatten();
        let mut names: Vec<String> = names
            .take(MOST_NAMES)
            .filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned()))
            .filter(|name| name != "." && name != "..")
            .collect();
        names.sort();
        names
    }

    /// A file's SELinux label. That of a link is its own.
    pub fn label(&self, path: &str) -> Option<Vec<u8>> {
        let path = Path::new(path);
        let holder = path.parent().unwrap_or(path);
        let holder = self.root.look_up(holder, PLACE, Mode::empty()).ok()?;
        label_of(&holder, path.file_name()?.to_str()?)
    }

    /// Makes a file, in place of what is there, owned by root. A label is its directory's own
    /// unless told otherwise, as the kernel of the image would have it.
    ///
    /// # Errors
    /// What the system says.
    pub fn file(
        &self,
        path: &str,
        mode: u32,
        mut content: impl Read,
        label: Option<&[u8]>,
    ) -> Result<(), Errno> {
        let (holder, name, inherited) = self.room(path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&holder, name.as_str(), flags, Mode::S_IRWXU)?);
        io::copy(&mut content, &mut file).map_err(|error| errno(&error))?;
        fchmod(&file, Mode::from_bits_truncate(mode))?;
        set_label(&holder, &name, label.or(inherited.as_deref()))
    }

    /// Makes a symbolic link, in place of what is there.
    ///
    /// # Errors
    /// What the system says.
    pub fn link(&self, path: &str, target: &str) -> Result<(), Errno> {
        let (holder, name, inherited) = self.room(path)?;
        symlinkat(target, &holder, name.as_str())?;
        set_label(&holder, &name, inherited.as_deref())
    }

    /// Adds to the end of a regular file, on a line of its own.
    ///
    /// # Errors
    /// What the system says; EINVAL where it is no regular file.
    pub fn append(&self, path: &str, text: &str) -> Result<(), Errno> {
        self.regular(path).ok_or(Errno::EINVAL)?;
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = self.root.look_up(Path::new(path), flags, Mode::empty())?;
        let mut file = File::from(file);
        let mut add = || -> io::Result<()> {
            let mut last = [b'\n'];
            if file.seek(io::SeekFrom::End(-1)).is_ok() {
                file.read_exact(&mut last)?;
            }
            if last != [b'\n'] {
                file.write_all(b"\n")?;
            }
            file.write_all(text.as_bytes())
        };
        add().map_err(|error| errno(&error))
    }

    fn place(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.root
            .look_up(Path::new(path), OFlag::O_PATH, Mode::empty())
    }

    /// Asked before a file is opened: opening a device or a FIFO does things.
    fn regular(&self, path: &str) -> Option<()> {
        let stat = fstat(self.place(path).ok()?).ok()?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        (kind == SFlag::S_IFREG).then_some(())
    }

    /// Room for a new name: its directory, made where it is missing, and that one's label.
    /// What had the name is gone.
    fn room(&self, path: &str) -> Result<(OwnedFd, String, Option<Vec<u8>>), Errno> {
        let path = Path::new(path);
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(Errno::EINVAL)?.to_owned();
        let look = |path: &Path| self.root.look_up(path, PLACE, Mode::empty());
        let mut here = PathBuf::from("/");
        let mut directory = look(&here)?;
        let mut label = label_of(&directory, ".");
        for component in path.parent().unwrap_or(path).components() {
            let Component::Normal(part) = component else {
                continue;
            };
            here.push(part);
            directory = match look(&here) {
                Err(Errno::ENOENT) => {
                    mkdirat(&directory, part, Mode::from_bits_truncate(0o755))?;
                    let part = part.to_str().ok_or(Errno::EINVAL)?;
                    set_label(&directory, part, label.as_deref())?;
                    look(&here)?
                }
                result => result?,
            };
            label = label_of(&directory, ".");
        }
        match unlinkat(&directory, name.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok((directory, name, label)),
            Err(errno) => Err(errno),
        }
    }
}

fn by_path(holder: &OwnedFd, name: &str) -> Result<CString, Errno> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    c_path_in(holder, &name)
}

fn label_of(holder: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    let path = by_path(holder, name).ok()?;
    let label = crate::sys::attribute(&path, LABEL).ok()?;
    (!label.is_empty()).then_some(label)
}

fn set_label(holder: &OwnedFd, name: &str, label: Option<&[u8]>) -> Result<(), Errno> {
    let Some(label) = label else { return Ok(()) };
    let path = by_path(holder, name)?;
    crate::sys::set_attribute(&path, LABEL, label).map_err(|error| errno(&error))
}

/// The system's number of an error.
pub fn errno(error: &io::Error) -> Errno {
    super::super::process::errno_of(error)
}
