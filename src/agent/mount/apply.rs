//! Makes the mounts of an image: the root, what its fstab adds, and what a command in it needs.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};

use super::super::root::RootDir;
use super::filesystem::{MountError, filesystem, unmount};
use super::modules::Modules;
use super::probe_mount;
use crate::linux::proc_fd;
use crate::protocol::disks::{Kind, Mount, SkippedMount};
use crate::sys::errno_of;

const NONE: Option<&str> = None;

/// Mounts a plan on `target`, the root first. Returns the mounts below the root that failed.
pub(crate) fn apply(
    mounts: &[Mount],
    target: &Path,
    modules: &mut Modules,
) -> Result<Vec<SkippedMount>, MountError> {
    fs::create_dir_all(target)
        .map_err(|error| MountError::MountPoint(target.display().to_string(), errno_of(error)))?;
    let mut failed = Vec::new();
    for planned in mounts {
        match (&*planned.target, planned.kind) {
            ("/", Some(kind)) => mount_root(planned, kind, target, modules)?,
            ("/", None) => mount_in_memory(target)?,
            _ => {
                if let Err(error) = mount_below(planned, target, modules) {
                    failed.push(SkippedMount {
                        source: planned.source.clone(),
                        target: planned.target.clone(),
                        reason: error.with_cause(),
                        missing: true,
                    });
                }
            }
        }
    }
    if mounts.first().is_some_and(Mount::is_in_memory) {
        link_to_usr(target);
    }
    Ok(failed)
}

/// Mounts the root of a system that has nothing but /usr, with the directories that every system
/// has.
fn mount_in_memory(target: &Path) -> Result<(), MountError> {
    let failed = |errno| MountError::MountPoint("/".to_owned(), errno);
    let kind = Some("tmpfs");
    mount(kind, target, kind, MsFlags::empty(), Some("mode=755")).map_err(failed)?;
    for name in ["etc", "var", "proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir(target.join(name)).map_err(|error| failed(errno_of(error)))?;
    }
    Ok(())
}

/// Makes the links that a system makes that finds none (systemd's base filesystem).
fn link_to_usr(target: &Path) {
    for name in ["bin", "sbin", "lib", "lib64"] {
        if target.join("usr").join(name).exists() {
            // Without them commands may not run, but their files are there.
            let _ = symlink(format!("usr/{name}"), target.join(name));
        }
    }
}

fn mount_root(
    planned: &Mount,
    kind: Kind,
    target: &Path,
    modules: &mut Modules,
) -> Result<(), MountError> {
    let (source, options) = (&planned.source, &planned.options);
    // The survey may have left it mounted.
    let is_plain = options.iter().all(|option| option == "ro");
    if let Some(directory) = &planned.directory {
        return mount_directory(planned, kind, directory, target, modules);
    }
    if is_plain && probe_mount::acquire(source, target, !options.is_empty()) {
        return Ok(());
    }
    probe_mount::release(source);
    filesystem(source, kind, options, target, modules)
}

/// Mounts a directory of a filesystem.
fn mount_directory(
    planned: &Mount,
    kind: Kind,
    directory: &str,
    target: &Path,
    modules: &mut Modules,
) -> Result<(), MountError> {
    probe_mount::release(&planned.source);
    let whole = probe_mount::place(&planned.source, "whole")
        .map_err(|error| MountError::MountPoint(directory.to_owned(), errno_of(error)))?;
    filesystem(&planned.source, kind, &planned.options, &whole, modules)?;
    let mounted = RootDir::open(&whole)
        .and_then(|root| root.locate(directory))
        .and_then(|directory| bind(&proc_fd::path(&directory), target))
        .map_err(|errno| MountError::MountPoint(directory.to_owned(), errno));
    unmount(&whole);
    mounted
}

fn mount_below(planned: &Mount, target: &Path, modules: &mut Modules) -> Result<(), MountError> {
    let failed = |errno| MountError::MountPoint(planned.target.clone(), errno);
    let root = RootDir::open(target).map_err(failed)?;
    let mount_point = match mount_point(&root, &planned.target) {
        Err(Errno::EROFS) => made_mount_point(&root, &planned.target, target),
        found => found,
    };
    let mount_point = mount_point.map_err(failed)?;
    let path = proc_fd::path(&mount_point);
    match planned.kind {
        Some(kind) => {
            probe_mount::release(&planned.source);
            filesystem(&planned.source, kind, &planned.options, &path, modules)
        }
        None => {
            let source = root
                .locate(&planned.source)
                .map_err(|errno| MountError::MountPoint(planned.source.clone(), errno))?;
            bind(&proc_fd::path(&source), &path).map_err(failed)
        }
    }
}

fn bind(source: &Path, target: &Path) -> Result<(), Errno> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, NONE, flags, NONE)
}

/// Opens a directory below the root. If only its last component is missing it is created, as
/// systemd does.
fn mount_point(root: &RootDir, path: &str) -> Result<OwnedFd, Errno> {
    root.locate(path).or_else(|errno| {
        let split = path.rsplit_once('/').filter(|_| errno == Errno::ENOENT);
        let (parent, name) = split.ok_or(errno)?;
        let parent = root.locate(parent)?;
        mkdirat(&parent, name, Mode::from_bits_truncate(0o755))?;
        root.locate(path)
    })
}

/// [`mount_point`] in a root that is mounted read-only at `target`, which is writable meanwhile: the
/// directory goes to the overlay.
fn made_mount_point(root: &RootDir, path: &str, target: &Path) -> Result<OwnedFd, Errno> {
    let remount = |flags| mount(NONE, target, NONE, MsFlags::MS_REMOUNT | flags, NONE);
    remount(MsFlags::empty())?;
    let made = mount_point(root, path);
    remount(MsFlags::MS_RDONLY)?;
    made
}

/// Mounts what commands expect in the root at `target`: /proc, /sys, /dev and /run of this
/// system, and a new tmpfs on /tmp. Returns those that failed.
pub(crate) fn mount_for_commands(target: &Path) -> Vec<SkippedMount> {
    let mount_one = |name: &str| {
        let mount_point = mount_point(&RootDir::open(target)?, name)?;
        let path = proc_fd::path(&mount_point);
        if name != "/tmp" {
            return bind(Path::new(name), &path);
        }
        let (kind, flags) = (Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
        mount(kind, &path, kind, flags, Some("mode=1777"))
    };
    let names = ["/proc", "/sys", "/dev", "/run", "/tmp"];
    let failed = names.iter().filter_map(|name| {
        let errno = mount_one(name).err()?;
        Some(SkippedMount {
            source: (*name).to_owned(),
            target: (*name).to_owned(),
            reason: errno.to_string(),
            missing: false,
        })
    });
    failed.collect()
}
