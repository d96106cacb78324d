//! Mounting: one filesystem, a whole plan, and what a command in an image's root expects.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::inside::Inside;
use super::look;
use super::modules::Modules;
use crate::guest::wire::disks::{Kind, Mount};

/// The kernel's names for a filesystem, the first that it has.
fn drivers(kind: Kind) -> &'static [&'static str] {
    match kind {
        // One driver for all three (CONFIG_EXT4_USE_FOR_EXT2).
        Kind::Ext2 => &["ext4", "ext2"],
        Kind::Ext3 => &["ext4", "ext3"],
        Kind::Ext4 => &["ext4"],
        Kind::Xfs => &["xfs"],
        Kind::Btrfs => &["btrfs"],
        Kind::Vfat => &["vfat"],
        Kind::Exfat => &["exfat"],
        Kind::Ntfs => &["ntfs3", "ntfs"],
        Kind::Iso9660 => &["iso9660"],
        Kind::Udf => &["udf"],
        Kind::Squashfs => &["squashfs"],
        Kind::Erofs => &["erofs"],
        Kind::F2fs => &["f2fs"],
        Kind::Swap | Kind::Luks | Kind::Lvm | Kind::Md => &[],
    }
}

/// The group of modules that mounts it, as the list in the initramfs names it.
fn group(kind: Kind) -> &'static str {
    match kind {
        Kind::Ext2 | Kind::Ext3 => "ext4",
        Kind::Ntfs => "ntfs",
        other => drivers(other).first().copied().unwrap_or_default(),
    }
}

/// What a filesystem is mounted with whatever was asked for, and what for a second try where it
/// cannot be repaired or written.
fn own_options(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        // A copy of a disk has the UUID of its original.
        Kind::Xfs => ("nouuid", "nouuid,norecovery"),
        Kind::Ext2 | Kind::Ext3 | Kind::Ext4 => ("", "noload"),
        Kind::Btrfs => ("", "rescue=nologreplay"),
        _ => ("", ""),
    }
}

/// Why a filesystem is not mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The kernel's module did not load.
    #[error("loading the module of {0:?}")]
    Module(Kind, #[source] io::Error),
    /// The kernel knows no such filesystem.
    #[error("the appliance's kernel has no driver for {0:?}")]
    NoDriver(Kind),
    /// It is no filesystem.
    #[error("{0:?} is no filesystem")]
    NoFilesystem(Kind),
    /// The kernel refused.
    #[error("mounting {1} ({0:?})")]
    Refused(Kind, String, #[source] io::Error),
    /// The place to mount it on cannot be had.
    #[error("{0} is no place to mount on")]
    Place(String, #[source] io::Error),
}

/// Mounts a filesystem: for writing, unless the options say `ro`; where that fails, for reading.
/// Its journal is replayed either way: that too lands in an overlay.
///
/// # Errors
/// See [`MountError`].
pub fn filesystem(
    device: &str,
    kind: Kind,
    options: &[String],
    target: &Path,
    modules: &mut Modules,
) -> Result<(), MountError> {
    if drivers(kind).is_empty() {
        return Err(MountError::NoFilesystem(kind));
    }
    modules
        .load(group(kind))
        .map_err(|error| MountError::Module(kind, error))?;
    let (flags, data) = split(options);
    let (always, rescue) = own_options(kind);
    // The image's own options may be for another kernel: without them at last, but for those
    // that say which part is meant.
    let essential: Vec<_> = data.iter().copied().filter(is_essential).collect();
    let tries = [
        (flags, joined(always, &data)),
        (flags, joined(always, &essential)),
        (flags | MsFlags::MS_RDONLY, joined(always, &essential)),
        (flags | MsFlags::MS_RDONLY, joined(rescue, &essential)),
    ];
    let mut failed = Errno::ENODEV;
    for driver in drivers(kind) {
        for (flags, data) in &tries {
            match mount(Some(device), target, Some(*driver), *flags, Some(&**data)) {
                Ok(()) => return Ok(()),
                Err(Errno::ENODEV) => break,
                Err(error) => failed = error,
            }
        }
    }
    Err(match failed {
        Errno::ENODEV => MountError::NoDriver(kind),
        error => MountError::Refused(kind, device.to_owned(), error.into()),
    })
}

fn is_essential(option: &&str) -> bool {
    option.starts_with("subvol=") || option.starts_with("subvolid=")
}

fn joined(own: &str, options: &[&str]) -> String {
    let own = (!own.is_empty()).then_some(own);
    let all: Vec<_> = own.into_iter().chain(options.iter().copied()).collect();
    all.join(",")
}

/// Options that are flags of mount(2), and those that are the filesystem's.
fn split(options: &[String]) -> (MsFlags, Vec<&str>) {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for option in options {
        match &**option {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "nodiratime" => flags |= MsFlags::MS_NODIRATIME,
            "relatime" => flags |= MsFlags::MS_RELATIME,
            // What an overlay that dies with the machine makes pointless.
            "strictatime" | "lazytime" | "sync" | "dirsync" | "async" | "discard" | "suid"
            | "dev" | "exec" | "atime" | "nolazytime" => {}
            other => data.push(other),
        }
    }
    (flags, data)
}

/// Mounts a plan on `target`, the root first. Gives one sentence for each mount besides the root
/// that failed.
///
/// # Errors
/// Where the root itself cannot be mounted.
pub fn plan(
    mounts: &[Mount],
    target: &Path,
    modules: &mut Modules,
) -> Result<Vec<String>, MountError> {
    let place = |error| MountError::Place(target.display().to_string(), error);
    fs::create_dir_all(target).map_err(place)?;
    let mut failed = Vec::new();
    for planned in mounts {
        match (&*planned.target, planned.kind) {
            ("/", Some(kind)) => top(planned, kind, target, modules)?,
            _ => {
                if let Err(error) = below(planned, target, modules) {
                    failed.push(format!("{}: {}", planned.target, chain(&error)));
                }
            }
        }
    }
    Ok(failed)
}

/// The root itself, which may be mounted already.
fn top(
    planned: &Mount,
    kind: Kind,
    target: &Path,
    modules: &mut Modules,
) -> Result<(), MountError> {
    let (source, options) = (&planned.source, &planned.options);
    let is_plain = options.iter().all(|option| option == "ro");
    if is_plain && look::take(source, target, !options.is_empty()) {
        return Ok(());
    }
    look::release(source);
    filesystem(source, kind, options, target, modules)
}

fn below(planned: &Mount, root: &Path, modules: &mut Modules) -> Result<(), MountError> {
    let place = |error| MountError::Place(planned.target.clone(), error);
    let inside = Inside::at(root).map_err(place)?;
    let opened = directory(&inside, &planned.target).map_err(place)?;
    let target = by_number(&opened);
    match planned.kind {
        Some(kind) => {
            look::release(&planned.source);
            filesystem(&planned.source, kind, &planned.options, &target, modules)
        }
        None => {
            let source = inside
                .place(&planned.source)
                .map_err(|error| MountError::Place(planned.source.clone(), error))?;
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(
                Some(&by_number(&source)),
                &target,
                None::<&str>,
                bind,
                None::<&str>,
            )
            .map_err(|error| place(error.into()))
        }
    }
}

/// A directory below the root, made where only it is missing, as systemd does.
fn directory(inside: &Inside, path: &str) -> io::Result<OwnedFd> {
    inside.place(path).or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        let (parent, name) = path.rsplit_once('/').ok_or(error)?;
        let parent = inside.place(if parent.is_empty() { "/" } else { parent })?;
        nix::sys::stat::mkdirat(
            &parent,
            name,
            nix::sys::stat::Mode::from_bits_truncate(0o755),
        )?;
        inside.place(path)
    })
}

/// A place that was opened safely, as a path that leads to it and nowhere else while it is open.
fn by_number(place: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

/// Mounts what a command in the root at `target` expects: /proc, /sys, /dev and /run of this
/// system, and a /tmp of its own in memory. Gives one sentence for each that failed.
pub fn for_commands(target: &Path) -> Vec<String> {
    let mut failed = Vec::new();
    for name in ["/proc", "/sys", "/dev", "/run", "/tmp"] {
        let mounted = Inside::at(target)
            .and_then(|inside| directory(&inside, name))
            .and_then(|place| {
                let place = by_number(&place);
                Ok(match name {
                    "/tmp" => mount(
                        Some("tmpfs"),
                        &place,
                        Some("tmpfs"),
                        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
                        Some("mode=1777"),
                    ),
                    _ => mount(
                        Some(name),
                        &place,
                        None::<&str>,
                        MsFlags::MS_BIND | MsFlags::MS_REC,
                        None::<&str>,
                    ),
                }?)
            });
        if let Err(error) = mounted {
            failed.push(format!("{name}: {error}"));
        }
    }
    failed
}

/// Takes a mount away, at once or when it is no longer used.
pub fn unmount(target: &Path) {
    let _ = umount2(target, MntFlags::MNT_DETACH);
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
