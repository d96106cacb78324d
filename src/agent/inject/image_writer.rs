//! Writes files below an image's root, with SELinux labels. A new file replaces what has its name:
//! nothing is written through a link or into a device.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::super::root::RootDir;
use super::file_action::FileAction;
use crate::linux::proc_fd;
use crate::sys::errno_of;

const LABEL: &CStr = c"security.selinux";

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// Makes one change. `program` is the agent.
pub(crate) fn apply(root: &RootDir, program: &File, action: &FileAction) -> Result<(), Errno> {
    match action {
        FileAction::Program { label } => {
            create_file(root, action.path(), 0o755, program, label.as_deref())
        }
        FileAction::Text {
            path,
            mode,
            text,
            label,
        } => create_file(root, path, *mode, text.as_bytes(), label.as_deref()),
        FileAction::Link { path, target } => {
            let (directory, name, label) = make_room(root, path)?;
            symlinkat(&**target, &directory, name)?;
            set_label(&directory, name, label.as_deref())
        }
        FileAction::Copy { path, from } => {
            let file = File::open(from).map_err(errno_of)?;
            create_file(root, path, 0o644, file, None)
        }
        FileAction::Line { path, text } => append(root, path, text),
    }
}

/// The SELinux label of a file; of a link it is its own.
pub(crate) fn label(root: &RootDir, path: &str) -> Option<Vec<u8>> {
    let path = Path::new(path);
    let directory = root.open_below(path.parent().unwrap_or(path), DIRECTORY);
    label_of(&directory.ok()?, path.file_name()?.to_str()?)
}

fn create_file(
    root: &RootDir,
    path: &str,
    mode: u32,
    mut content: impl Read,
    label: Option<&[u8]>,
) -> Result<(), Errno> {
    let (directory, name, inherited) = make_room(root, path)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(&directory, name, flags, Mode::S_IRWXU)?);
    io::copy(&mut content, &mut file).map_err(errno_of)?;
    fchmod(&file, Mode::from_bits_truncate(mode))?;
    set_label(&directory, name, label.or(inherited.as_deref()))
}

/// Appends to a regular file, on a line of its own.
fn append(root: &RootDir, path: &str, text: &str) -> Result<(), Errno> {
    let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut file = root.open_regular(path, flags)?;
    let mut add = || -> io::Result<()> {
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
        }
        file.write_all(text.as_bytes())
    };
    add().map_err(errno_of)
}

/// Removes what has this path, and creates missing directories. Returns the directory, the name
/// in it, and the directory's label, which a new file inherits as under the image's own kernel.
fn make_room<'a>(
    root: &RootDir,
    path: &'a str,
) -> Result<(OwnedFd, &'a str, Option<Vec<u8>>), Errno> {
    let path = Path::new(path);
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or(Errno::EINVAL)?;
    let mut parent = PathBuf::from("/");
    let mut directory = root.open_below(&parent, DIRECTORY)?;
    let mut label = label_of(&directory, ".");
    for component in path.parent().unwrap_or(path).components() {
        let Component::Normal(part) = component else {
            continue;
        };
        parent.push(part);
        directory = match root.open_below(&parent, DIRECTORY) {
            Err(Errno::ENOENT) => {
                mkdirat(&directory, part, Mode::from_bits_truncate(0o755))?;
                let part = part.to_str().ok_or(Errno::EINVAL)?;
                set_label(&directory, part, label.as_deref())?;
                root.open_below(&parent, DIRECTORY)?
            }
            result => result?,
        };
        label = label_of(&directory, ".");
    }
    match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok((directory, name, label)),
        Err(errno) => Err(errno),
    }
}

fn path_in(directory: &OwnedFd, name: &str) -> Result<CString, Errno> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    proc_fd::c_path_in(directory, &name)
}

fn label_of(directory: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    let path = path_in(directory, name).ok()?;
    let label = crate::sys::attribute(&path, LABEL).ok()?;
    (!label.is_empty()).then_some(label)
}

fn set_label(directory: &OwnedFd, name: &str, label: Option<&[u8]>) -> Result<(), Errno> {
    let Some(label) = label else { return Ok(()) };
    let path = path_in(directory, name)?;
    crate::sys::set_attribute(&path, LABEL, label).map_err(errno_of)
}
