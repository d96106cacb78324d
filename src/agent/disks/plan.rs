//! From an image's fstab to what is mounted. Pure: it knows the devices as a list.

use super::fstab::Entry;
use crate::guest::wire::disks::{Kind, Mount, SkippedMount};

/// A block device that an fstab may name, and by which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its node here.
    pub device: String,
    /// What is on it.
    pub kind: Kind,
    /// `UUID=`.
    pub uuid: Option<String>,
    /// `LABEL=`.
    pub label: Option<String>,
    /// `PARTUUID=`.
    pub part_uuid: Option<String>,
    /// `PARTLABEL=`.
    pub part_label: Option<String>,
    /// Paths by which the image may know it, such as `/dev/sda1` or `/dev/vg/root`.
    pub paths: Vec<String>,
}

/// Filesystems that are no block device's: the kernel's own, or another machine's.
const OF_THE_KERNEL: [&str; 14] = [
    "proc",
    "sysfs",
    "devpts",
    "devtmpfs",
    "securityfs",
    "debugfs",
    "tracefs",
    "configfs",
    "efivarfs",
    "cgroup",
    "cgroup2",
    "mqueue",
    "hugetlbfs",
    "bpf",
];
const OF_THE_NETWORK: [&str; 11] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "glusterfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "9p",
    "virtiofs",
];

/// Options that mean something to init or to mount(8), and nothing to the kernel.
const OF_INIT: [&str; 14] = [
    "defaults", "auto", "noauto", "nofail", "user", "users", "owner", "group", "nouser", "_netdev",
    "bind", "rbind", "loud", "rw",
];

/// The root's own line, where fstab has one.
pub fn root_entry(fstab: &[Entry]) -> Option<&Entry> {
    fstab.iter().find(|entry| entry.target == "/")
}

/// The mounts that `fstab` asks for besides the root, each after what it is mounted on, and
/// the lines that are left out.
pub fn mounts(fstab: &[Entry], known: &[Known]) -> (Vec<Mount>, Vec<SkippedMount>) {
    let mut mounts = Vec::new();
    let mut left_out = Vec::new();
    for entry in fstab.iter().filter(|entry| entry.target != "/") {
        match mount(entry, known) {
            Ok(mount) => mounts.push(mount),
            Err(reason) => left_out.push(SkippedMount {
                source: entry.source.clone(),
                target: entry.target.clone(),
                reason,
            }),
        }
    }
    (in_order(mounts), left_out)
}

/// In the order of the file, but each after those that it is mounted on, or binds a part of.
fn in_order(mut mounts: Vec<Mount>) -> Vec<Mount> {
    let mut ordered = Vec::with_capacity(mounts.len());
    while !mounts.is_empty() {
        let waits = |mount: &Mount| {
            mounts.iter().any(|other| {
                let source = mount.kind.is_none() && is_below(&mount.source, &other.target);
                let itself = other.target == mount.target;
                !itself && (source || is_below(&mount.target, &other.target))
            })
        };
        // Binds may wait for each other in a circle: the first goes first, then.
        let next = mounts.iter().position(|mount| !waits(mount)).unwrap_or(0);
        ordered.push(mounts.remove(next));
    }
    ordered
}

/// Whether `path` is `place` or below it.
fn is_below(path: &str, place: &str) -> bool {
    let rest = path.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn mount(entry: &Entry, known: &[Known]) -> Result<Mount, String> {
    let kind = &*entry.kind;
    if kind == "swap" || entry.has("swap") {
        return Err("swap".into());
    }
    let target = clean(&entry.target).ok_or("it has no place to be mounted on")?;
    if kind == "tmpfs" || kind == "ramfs" {
        return Err("memory, made anew".into());
    }
    if OF_THE_KERNEL.contains(&kind) {
        return Err("the kernel's own".into());
    }
    if OF_THE_NETWORK.contains(&kind) || entry.has("_netdev") || entry.source.contains(":/") {
        return Err("on the network".into());
    }
    if entry.has("noauto") {
        return Err("noauto".into());
    }
    if kind == "none" || entry.has("bind") || entry.has("rbind") {
        return bind(entry, target);
    }
    if matches!(kind, "overlay" | "autofs") || kind.starts_with("fuse") {
        return Err(format!("of type {kind}"));
    }
    let found = find(&entry.source, known).ok_or_else(|| {
        let optional = if entry.has("nofail") { ", nofail" } else { "" };
        format!("no such device{optional}")
    })?;
    if matches!(found.kind, Kind::Swap | Kind::Luks | Kind::Lvm | Kind::Md) {
        return Err(format!("it holds {:?}, no filesystem", found.kind).to_lowercase());
    }
    Ok(Mount {
        source: found.device.clone(),
        target,
        kind: Some(found.kind),
        options: kernel_options(entry),
    })
}

fn bind(entry: &Entry, target: String) -> Result<Mount, String> {
    if !entry.has("bind") && !entry.has("rbind") {
        return Err("of type none".into());
    }
    let source = clean(&entry.source).ok_or("a bind mount of no path")?;
    Ok(Mount {
        source,
        target,
        kind: None,
        options: kernel_options(entry),
    })
}

/// What is left of the options for the kernel.
pub fn kernel_options(entry: &Entry) -> Vec<String> {
    let of_init = |option: &&String| {
        let name = option.split('=').next().unwrap_or_default();
        OF_INIT.contains(&&***option)
            || name.starts_with("x-")
            || name.starts_with("X-")
            || matches!(
                name,
                "comment" | "context" | "fscontext" | "defcontext" | "rootcontext"
            )
    };
    let options = entry.options.iter();
    options.filter(|option| !of_init(option)).cloned().collect()
}

/// An absolute path without empty and `.` components; `None` where it has `..`, or is not one.
fn clean(path: &str) -> Option<String> {
    let rest = path.strip_prefix('/')?;
    let parts: Vec<_> = rest
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    (!parts.contains(&"..")).then(|| format!("/{}", parts.join("/")))
}

/// The device that `source` names.
fn find<'a>(source: &str, known: &'a [Known]) -> Option<&'a Known> {
    let prefixes = [
        ("UUID=", "/dev/disk/by-uuid/"),
        ("LABEL=", "/dev/disk/by-label/"),
        ("PARTUUID=", "/dev/disk/by-partuuid/"),
        ("PARTLABEL=", "/dev/disk/by-partlabel/"),
    ];
    for (sort, (tag, directory)) in prefixes.into_iter().enumerate() {
        let value = source
            .strip_prefix(tag)
            .map(str::to_owned)
            .or_else(|| source.strip_prefix(directory).map(udev_decoded));
        let Some(value) = value else { continue };
        return known.iter().find(|device| {
            let own = [
                &device.uuid,
                &device.label,
                &device.part_uuid,
                &device.part_label,
            ][sort];
            // Labels are exact; hexadecimal digits may be of either case.
            own.as_deref().is_some_and(|own| match sort {
                0 | 2 => own.eq_ignore_ascii_case(&value),
                _ => own == value,
            })
        });
    }
    known
        .iter()
        .find(|device| device.paths.iter().any(|path| path == source))
}

/// udev writes what is unsafe in a file's name as `\x20`.
fn udev_decoded(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.strip_prefix(b"x").and_then(|digits| digits.get(..2));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
