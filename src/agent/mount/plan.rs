//! Turns an image's fstab into the mounts to make. Pure: the devices are given as a list.

use crate::block::fstab::{FstabEntry, unescaped};
use crate::protocol::disks::{Content, Kind, Mount, SkippedMount};

/// A block device with every name that an fstab may use for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockId {
    /// Its node in this system.
    pub(crate) device: String,
    pub(crate) kind: Kind,
    pub(crate) uuid: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) part_uuid: Option<String>,
    pub(crate) part_label: Option<String>,
    /// The number of a partition.
    pub(crate) partition: Option<u32>,
    /// Paths that the image may use, such as `/dev/sda1` or `/dev/vg/root`.
    pub(crate) paths: Vec<String>,
}

impl BlockId {
    /// A device that is not a partition.
    pub(crate) fn new(device: &str, content: &Content, paths: Vec<String>) -> Self {
        Self {
            device: device.to_owned(),
            kind: content.kind,
            uuid: content.uuid.clone(),
            label: content.label.clone(),
            part_uuid: None,
            part_label: None,
            partition: None,
            paths,
        }
    }
}

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

/// The mounts that `fstab` lists below the root, each after those it depends on, and the lines
/// that are skipped.
pub(crate) fn mounts(fstab: &[FstabEntry], known: &[BlockId]) -> (Vec<Mount>, Vec<SkippedMount>) {
    let mut mounts = Vec::new();
    let mut skipped = Vec::new();
    for entry in fstab.iter().filter(|entry| entry.target != "/") {
        match mount(entry, known) {
            Ok(mount) => mounts.push(mount),
            Err(reason) => skipped.push(SkippedMount {
                source: entry.source.clone(),
                target: entry.target.clone(),
                missing: is_missing(&reason),
                reason,
            }),
        }
    }
    (in_order(mounts), skipped)
}

/// Keeps the order of the file, but puts each mount after the one that it is mounted on or whose
/// files it binds.
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

fn mount(entry: &FstabEntry, known: &[BlockId]) -> Result<Mount, String> {
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
    })
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

fn find<'a>(source: &str, known: &'a [BlockId]) -> Option<&'a BlockId> {
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
            // Labels are compared exactly, hexadecimal digits in either case.
            own.as_deref().is_some_and(|own| match sort {
                0 | 2 => own.eq_ignore_ascii_case(&value),
                _ => own == value,
            })
        });
    }
    let mut devices = known.iter();
    devices
        .find(|device| device.paths.iter().any(|path| path == source))
        .or_else(|| by_bus(source, known))
}

/// A link that udev names after a bus or a serial number, which are others here. It can still be
/// known if only one partition has its number.
fn by_bus<'a>(source: &str, known: &'a [BlockId]) -> Option<&'a BlockId> {
    let is_one = ["/dev/disk/by-path/", "/dev/disk/by-id/"]
        .iter()
        .any(|directory| source.starts_with(directory));
    let (_, number) = source.rsplit_once("-part").filter(|_| is_one)?;
    let number = number.parse().ok();
    let mut found = known.iter().filter(|device| device.partition == number);
    let first = found.next().filter(|device| device.partition.is_some())?;
    found.next().is_none().then_some(first)
}

/// Decodes udev's escapes, such as `\x20` for a space.
fn udev_decoded(name: &str) -> String {
    unescaped(name, |digits| {
        let digits = std::str::from_utf8(digits.strip_prefix(b"x")?).ok()?;
        u8::from_str_radix(digits, 16).ok()
    })
}
