//! Mounts one filesystem: loads its driver, and falls back to fewer options and to read-only.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::kernel_log::KernelLog;
use super::modules::Modules;
use crate::protocol::ErrorStage;
use crate::protocol::disks::Kind;

/// The kernel's drivers for a filesystem, in order of preference.
fn drivers(kind: Kind) -> &'static [&'static str] {
    match kind {
        // One driver for all three (CONFIG_EXT4_USE_FOR_EXT2).
        Kind::Ext2 => &["ext4", "ext2"],
        Kind::Ext3 => &["ext4", "ext3"],
        Kind::Ext4 => &["ext4"],
        Kind::Ntfs => &["ntfs3", "ntfs"],
        _ if kind.is_filesystem() => kind.driver(),
        _ => &[],
    }
}

/// The group of kernel modules for a filesystem, as the list in the initramfs names it.
fn group(kind: Kind) -> &'static str {
    match kind {
        Kind::Ext2 | Kind::Ext3 => "ext4",
        Kind::Ntfs => "ntfs",
        other => drivers(other).first().copied().unwrap_or_default(),
    }
}

/// The options that a filesystem is always mounted with, and those for the last, read-only try,
/// which skips the replay of the journal.
fn driver_options(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        // The UUID may be mounted already: a copy of a disk has that of its original.
        Kind::Xfs => ("nouuid", "nouuid,norecovery"),
        Kind::Ext2 | Kind::Ext3 | Kind::Ext4 => ("", "noload"),
        Kind::Btrfs => ("", "degraded,rescue=nologreplay"),
        // The two sorts that this driver cannot tell apart.
        Kind::Ufs => ("ufstype=ufs2", "ufstype=44bsd"),
        // One machine uses them.
        Kind::Ocfs2 => ("heartbeat=none", "heartbeat=none"),
        Kind::Gfs2 => ("lockproto=lock_nolock", "lockproto=lock_nolock"),
        _ => ("", ""),
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("cannot load the {} module", .0.name())]
    Module(Kind, #[source] io::Error),
    #[error("the appliance's kernel has no {} driver{}", .0.name(), source_of(*.0))]
    NoDriver(Kind),
    #[error("{} is not a filesystem", .0.name())]
    NoFilesystem(Kind),
    /// With what the kernel said besides.
    #[error("cannot mount {1} ({kind}){said}", kind = .0.name(), said = quoted(.2))]
    Refused(Kind, String, Vec<String>, #[source] Errno),
    #[error("cannot mount on {0}")]
    MountPoint(String, #[source] Errno),
}

/// The kernel's messages in parentheses.
fn quoted(said: &[String]) -> String {
    match said {
        [] => String::new(),
        said => format!(" (the kernel said: {})", said.join("; ")),
    }
}

/// Where there is a driver, in parentheses.
fn source_of(kind: Kind) -> String {
    let source = kind.driver_source();
    source.map_or_else(String::new, |source| format!(" ({source})"))
}

impl MountError {
    /// The stage of the error as the host is told it.
    pub(crate) fn stage(&self) -> ErrorStage {
        match self {
            Self::NoDriver(_) => ErrorStage::Driver,
            _ => ErrorStage::Disk,
        }
    }

    pub(crate) fn with_cause(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }

    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Module(_, error) => error.raw_os_error(),
            Self::Refused(.., errno) | Self::MountPoint(_, errno) => Some(*errno as i32),
            Self::NoDriver(_) | Self::NoFilesystem(_) => None,
        }
    }
}

/// Mounts a filesystem: read-write unless the options say `ro`, else read-only. The journal is
/// replayed in both cases: the writes go to the overlay.
pub(crate) fn filesystem(
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
    let (always, last) = driver_options(kind);
    // The image's options may be for another kernel, so a later try drops them, except those that
    // select a subvolume.
    let essential: Vec<_> = data.iter().copied().filter(is_essential).collect();
    let tries = [
        (flags, joined(always, &data)),
        (flags, joined(always, &essential)),
        (flags | MsFlags::MS_RDONLY, joined(always, &essential)),
        (flags | MsFlags::MS_RDONLY, joined(last, &essential)),
    ];
    let attempt = || attempt(device, kind, target, &tries);
    match attempt() {
        Ok(()) => return Ok(()),
        Err(Errno::ENODEV) => return Err(MountError::NoDriver(kind)),
        Err(_) => {}
    }
    // Once more, to read what the kernel says. To open its log before takes as long as some mounts.
    let log = KernelLog::from_now();
    attempt().map_err(|error| {
        let said = log.about(device, drivers(kind)[0]);
        MountError::Refused(kind, device.to_owned(), said, error)
    })
}

/// Mounts it with the first driver and the first options that work. `ENODEV` if the kernel has no
/// driver.
fn attempt(
    device: &str,
    kind: Kind,
    target: &Path,
    tries: &[(MsFlags, String)],
) -> Result<(), Errno> {
    let mut failed = Errno::ENODEV;
    for driver in drivers(kind) {
        for (flags, data) in tries {
            match mount(Some(device), target, Some(*driver), *flags, Some(&**data)) {
                Ok(()) => return Ok(()),
                Err(Errno::ENODEV) => break,
                Err(error) => failed = error,
            }
        }
    }
    Err(failed)
}

fn is_essential(option: &&str) -> bool {
    option.starts_with("subvol=") || option.starts_with("subvolid=")
}

fn joined(own: &str, options: &[&str]) -> String {
    let own = (!own.is_empty()).then_some(own);
    let all: Vec<_> = own.into_iter().chain(options.iter().copied()).collect();
    all.join(",")
}

/// Separates the options that are flags of mount(2) from those for the filesystem.
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
            // Pointless on an overlay that is thrown away with the machine.
            "strictatime" | "lazytime" | "sync" | "dirsync" | "async" | "discard" | "suid"
            | "dev" | "exec" | "atime" | "nolazytime" => {}
            other => data.push(other),
        }
    }
    (flags, data)
}

/// Unmounts, now or as soon as the mount is no longer in use.
pub(crate) fn unmount(target: &Path) {
    let _ = umount2(target, MntFlags::MNT_DETACH);
}
