//! Which modules the appliance takes along, in groups: `base` is loaded as it starts, each
//! other one when something of that kind is met, because loading costs time (btrfs alone
//! measures its checksums for half a second) and most images need one or two.

use super::module_index::ModuleIndex;

/// Modules that are loaded together.
#[derive(Clone, Copy, Debug)]
pub struct ModuleSet {
    /// As the list in the appliance has it; for filesystems, the kind's name.
    pub name: &'static str,
    /// Without these there is no appliance.
    pub required: &'static [&'static str],
    /// These are taken where the kernel has them.
    pub wanted: &'static [&'static str],
    /// What they ask for by name when they are used, code pages mostly: loaded before them,
    /// and of no use without any of them.
    pub beside: &'static [&'static str],
}

const fn wanted(name: &'static str, wanted: &'static [&'static str]) -> ModuleSet {
    with(name, wanted, &[])
}

const fn with(
    name: &'static str,
    wanted: &'static [&'static str],
    beside: &'static [&'static str],
) -> ModuleSet {
    ModuleSet {
        name,
        required: &[],
        wanted,
        beside,
    }
}

/// Every group. What a module needs to be loaded, depmod knows.
pub const SETS: [ModuleSet; 20] = [
    ModuleSet {
        name: "base",
        required: &["virtio_pci", "virtio_console", "virtio_blk"],
        wanted: &[],
        beside: &[],
    },
    wanted("rng", &["virtio_rng"]),
    wanted("scsi", &["virtio_scsi", "sd_mod", "sr_mod"]),
    // One driver for ext2 and ext3 too, where the kernel has no other.
    wanted("ext4", &["ext4", "ext3", "ext2"]),
    wanted("xfs", &["xfs"]),
    wanted("btrfs", &["btrfs"]),
    with(
        "vfat",
        &["vfat"],
        &["nls_cp437", "nls_ascii", "nls_utf8", "nls_iso8859_1"],
    ),
    with("exfat", &["exfat"], &["nls_utf8"]),
    with("ntfs", &["ntfs3", "ntfs"], &["nls_utf8"]),
    with("iso9660", &["isofs"], &["nls_utf8", "nls_iso8859_1"]),
    with("udf", &["udf"], &["nls_utf8"]),
    wanted("squashfs", &["squashfs"]),
    wanted("erofs", &["erofs"]),
    wanted("f2fs", &["f2fs"]),
    wanted("overlay", &["overlay"]),
    wanted("loop", &["loop"]),
    wanted("dm", &["dm_mod"]),
    wanted("raid0", &["md_mod", "raid0", "linear"]),
    wanted("raid1", &["md_mod", "raid1", "raid10"]),
    wanted("raid456", &["md_mod", "raid456"]),
];

/// A module's file in the kernel's directory, and the group that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The group's name.
    pub group: &'static str,
    /// The file, relative to the directory.
    pub file: String,
}

/// What to take from `tree`, in load order within each group; a module that two groups need
/// stands in both.
///
/// # Errors
/// The name of a required module that the kernel lacks.
pub fn choose(tree: &ModuleIndex) -> Result<Vec<Chosen>, &'static str> {
    let mut chosen = Vec::new();
    for group in SETS {
        if let Some(missing) = group.required.iter().find(|name| !tree.has(name)) {
            return Err(missing);
        }
        let of_use = group.wanted.iter().any(|name| tree.has(name));
        let beside = if of_use { group.beside } else { &[] };
        let names = beside.iter().chain(group.required).chain(group.wanted);
        let files = tree.load_order(names.copied()).into_iter();
        chosen.extend(files.map(|file| Chosen {
            group: group.name,
            file,
        }));
    }
    Ok(chosen)
}
