//! Which modules the appliance takes along, in sets. `base` is loaded at start, every other set
//! when something of its kind is found: loading costs time (btrfs alone benchmarks its checksums
//! for half a second), and most images need one or two sets.

use super::module_index::ModuleIndex;
use crate::protocol::disks::Kind;

/// Modules that are loaded at the same time.
#[derive(Clone, Copy, Debug)]
struct ModuleSet {
    /// As in the appliance's list. For filesystems, the name of the kind.
    name: &'static str,
    /// Taken if the kernel has them.
    modules: &'static [&'static str],
    /// What these request by name at run time, mostly code pages. Loaded first, and
    /// taken only with at least one of them.
    companions: &'static [&'static str],
}

const fn set(name: &'static str, modules: &'static [&'static str]) -> ModuleSet {
    with(name, modules, &[])
}

const fn with(
    name: &'static str,
    modules: &'static [&'static str],
    companions: &'static [&'static str],
) -> ModuleSet {
    ModuleSet {
        name,
        modules,
        companions,
    }
}

/// Without these there is no appliance.
const REQUIRED: &[&str] = &["virtio_pci", "virtio_console", "virtio_blk"];

/// Every set. Dependencies of these modules come from depmod.
const SETS: &[ModuleSet] = &[
    set("base", REQUIRED),
    set("rng", &["virtio_rng"]),
    set("scsi", &["virtio_scsi", "sd_mod", "sr_mod"]),
    // One driver for ext2 and ext3 too, if the kernel has no other.
    set("ext4", &["ext4", "ext3", "ext2"]),
    set("xfs", &["xfs"]),
    set("btrfs", &["btrfs"]),
    with(
        "vfat",
        &["vfat"],
        &["nls_cp437", "nls_ascii", "nls_utf8", "nls_iso8859_1"],
    ),
    with("exfat", &["exfat"], &["nls_utf8"]),
    with("ntfs", &["ntfs3", "ntfs"], &["nls_utf8"]),
    with("iso9660", &["isofs"], &["nls_utf8", "nls_iso8859_1"]),
    with("udf", &["udf"], &["nls_utf8"]),
    set("squashfs", &["squashfs"]),
    set("erofs", &["erofs"]),
    set("f2fs", &["f2fs"]),
    set("overlay", &["overlay"]),
    set("loop", &["loop"]),
    set("dm", &["dm_mod"]),
    set("raid0", &["md_mod", "raid0", "linear"]),
    set("raid1", &["md_mod", "raid1", "raid10"]),
    set("raid456", &["md_mod", "raid456"]),
];

/// Sets that few images need. They are loaded when they are needed, and not before the appliance is
/// saved.
const RARE: &[ModuleSet] = &[
    with("jfs", &["jfs"], &["nls_utf8"]),
    set("nilfs2", &["nilfs2"]),
    set("reiserfs", &["reiserfs"]),
    set("ufs", &["ufs"]),
    with("hfs", &["hfs"], &["nls_utf8"]),
    with("hfsplus", &["hfsplus"], &["nls_utf8"]),
    set("minix", &["minix"]),
    set("cramfs", &["cramfs"]),
    set("romfs", &["romfs"]),
    set("bfs", &["bfs"]),
    with("befs", &["befs"], &["nls_utf8"]),
    set("hpfs", &["hpfs"]),
    set("vxfs", &["freevxfs"]),
    set("gfs2", &["gfs2"]),
    set("ocfs2", &["ocfs2"]),
    set("bcachefs", &["bcachefs"]),
    set("sysv", &["sysv"]),
    set("affs", &["affs"]),
    set("efs", &["efs"]),
    set("qnx6", &["qnx6"]),
    // The template modules and ciphers are requested by name, as is what is faster for the processor.
    with(
        "dm-crypt",
        &["dm_crypt"],
        &[
            "xts",
            "cbc",
            "ecb",
            "essiv",
            "aes_generic",
            "aesni_intel",
            "sha256_generic",
            "sha512_generic",
            "serpent_generic",
            "twofish_generic",
            "camellia_generic",
        ],
    ),
    // What BitLocker shows where its metadata is.
    set("dm-zero", &["dm_zero"]),
    set("dm-thin", &["dm_thin_pool"]),
    set("dm-cache", &["dm_cache", "dm_cache_smq"]),
    set("dm-raid", &["dm_raid"]),
    set("dm-snapshot", &["dm_snapshot"]),
];

/// Whether the kernel has a driver for a kind of filesystem.
pub(super) fn has_driver(index: &ModuleIndex, kind: Kind) -> bool {
    let name = match kind {
        Kind::Ext2 | Kind::Ext3 => Kind::Ext4.name(),
        kind => kind.name(),
    };
    let mut sets = SETS.iter().chain(RARE).filter(|set| set.name == name);
    sets.any(|set| set.modules.iter().any(|module| index.has(module)))
}

/// A module's file, relative to the kernel's module directory, and the name of its set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SelectedModule {
    pub set: &'static str,
    pub file: String,
    /// It is loaded only when it is needed.
    pub is_rare: bool,
}

/// What to take of a kernel's modules, in load order within each set. A module that two sets need
/// is in both. The error is the name of a required module that the kernel lacks.
pub(super) fn select(index: &ModuleIndex) -> Result<Vec<SelectedModule>, &'static str> {
    if let Some(missing) = REQUIRED.iter().find(|name| !index.has(name)) {
        return Err(missing);
    }
    let mut selected = Vec::new();
    let common = SETS.iter().map(|set| (set, false));
    for (set, is_rare) in common.chain(RARE.iter().map(|set| (set, true))) {
        let is_useful = set.modules.iter().any(|name| index.has(name));
        let companions = if is_useful { set.companions } else { &[] };
        let names = companions.iter().chain(set.modules);
        let files = index.load_order(names.copied()).into_iter();
        selected.extend(files.map(|file| SelectedModule {
            set: set.name,
            file,
            is_rare,
        }));
    }
    Ok(selected)
}
