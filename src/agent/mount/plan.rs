//! Turns an image's list of mounts, its fstab and units, into those to make. Pure: the devices are
//! given as a list.

pub(crate) use super::block_id::BlockId;
use super::block_id::find;
use crate::block::fstab::FstabEntry;
use crate::protocol::disks::{Mount, SkippedMount};

/// Options for init or mount(8), which the kernel does not know.
const USER_SPACE: [&str; 14] = [
    "defaults", "auto", "noauto", "nofail", "user", "users", "owner", "group", "nouser", "_netdev",
    "bind", "rbind", "loud", "rw",
];

const NO_DEVICE: &str = "no such device";
const CONTAINS: &str = "contains";

/// Whether a running system would have what is skipped for this reason.
fn is_missing(reason: &str) -> bool {
    reason == NO_DEVICE || reason.starts_with(CONTAINS)
}

pub(crate) fn root_entry(fstab: &[FstabEntry]) -> Option<&FstabEntry> {
    fstab.iter().find(|entry| entry.target == "/")
}

/// The mounts that `fstab` lists below the root, which is on the device `root`, and the lines that
/// are skipped. A later line for the same place is on top.
pub(crate) fn mounts(
    fstab: &[FstabEntry],
    root: &str,
    known: &[BlockId],
) -> (Vec<Mount>, Vec<SkippedMount>) {
    let mut mounts = Vec::new();
    let mut skipped = Vec::new();
    for entry in fstab.iter().filter(|entry| entry.target != "/") {
        match mount(entry, root, known) {
            Ok(mount) => mounts.push(mount),
            Err(reason) => skipped.push(SkippedMount {
                source: entry.source.clone(),
                target: entry.target.clone(),
                missing: is_missing(&reason),
                reason,
            }),
        }
    }
    (mounts, skipped)
}

/// Keeps the order, but puts each mount after the one that it is mounted on or whose files it
/// binds.
pub(crate) fn in_order(mut mounts: Vec<Mount>) -> Vec<Mount> {
    let mut ordered = Vec::with_capacity(mounts.len());
    while !mounts.is_empty() {
        let waits = |mount: &Mount| {
            mounts.iter().any(|other| {
                let source = mount.kind.is_none() && is_below(&mount.source, &other.target);
                let itself = other.target == mount.target;
                !itself && (source || is_below(&mount.target, &other.target))
            })
        };
        // Bind mounts may depend on each other in a cycle; then the first of them is next.
        let next = mounts.iter().position(|mount| !waits(mount)).unwrap_or(0);
        ordered.push(mounts.remove(next));
    }
    ordered
}

fn is_below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn mount(entry: &FstabEntry, root: &str, known: &[BlockId]) -> Result<Mount, String> {
    let kind = &*entry.kind;
    if kind == "swap" || entry.has("swap") {
        return Err("swap".into());
    }
    let target = clean(&entry.target).ok_or("not a valid mount point")?;
    if let Some(reason) = why_skipped(kind) {
        return Err(reason.into());
    }
    if entry.has("_netdev") || entry.source.contains(":/") {
        return Err("on the network".into());
    }
    if entry.has("noauto") && !is_mounted_later(entry) {
        return Err("noauto".into());
    }
    if kind == "none" || entry.has("bind") || entry.has("rbind") {
        return bind(entry, target);
    }
    if matches!(kind, "overlay" | "autofs") || kind.starts_with("fuse") {
        return Err(format!("of type {kind}"));
    }
    let found = find(&entry.source, root, known).ok_or_else(|| {
        let optional = if entry.has("nofail") { ", nofail" } else { "" };
        format!("{NO_DEVICE}{optional}")
    })?;
    if !found.kind.is_filesystem() {
        return Err(format!(
            "{CONTAINS} {}, not a filesystem",
            found.kind.name()
        ));
    }
    Ok(Mount {
        source: found.device.clone(),
        target,
        kind: Some(found.kind),
        options: kernel_options(entry),
        directory: None,
    })
}

/// Whether systemd mounts it in spite of `noauto`: when its files are wanted, or for a unit.
fn is_mounted_later(entry: &FstabEntry) -> bool {
    let says = |name: &str| entry.value(name).is_some();
    entry.has("x-systemd.automount")
        || entry.has("comment=systemd.automount")
        || says("x-systemd.wanted-by")
        || says("x-systemd.required-by")
}

/// Why filesystems of this type are not mounted: they are on no block device.
fn why_skipped(kind: &str) -> Option<&'static str> {
    match kind {
        "tmpfs" | "ramfs" => Some("in memory"),
        "proc" | "sysfs" | "devpts" | "devtmpfs" | "securityfs" | "debugfs" | "tracefs"
        | "configfs" | "efivarfs" | "cgroup" | "cgroup2" | "mqueue" | "hugetlbfs" | "bpf" => {
            Some("a virtual filesystem")
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "ceph" | "glusterfs" | "fuse.sshfs"
        | "fuse.glusterfs" | "9p" | "virtiofs" => Some("on the network"),
        _ => None,
    }
}

fn bind(entry: &FstabEntry, target: String) -> Result<Mount, String> {
    if !entry.has("bind") && !entry.has("rbind") {
        return Err("of type none".into());
    }
    let source = clean(&entry.source).ok_or("a bind mount of an invalid path")?;
    Ok(Mount {
        source,
        target,
        kind: None,
        options: kernel_options(entry),
        directory: None,
    })
}

fn kernel_options(entry: &FstabEntry) -> Vec<String> {
    let is_user_space = |option: &&String| {
        let name = option.split('=').next().unwrap_or_default();
        USER_SPACE.contains(&&***option)
            || name.starts_with("x-")
            || name.starts_with("X-")
            || matches!(
                name,
                "comment" | "context" | "fscontext" | "defcontext" | "rootcontext"
            )
    };
    let options = entry.options.iter();
    options
        .filter(|option| !is_user_space(option))
        .cloned()
        .collect()
}

/// Removes empty and `.` components; `None` if the path is relative or contains `..`.
fn clean(path: &str) -> Option<String> {
    let rest = path.strip_prefix('/')?;
    let parts: Vec<_> = rest
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    (!parts.contains(&"..")).then(|| format!("/{}", parts.join("/")))
}
