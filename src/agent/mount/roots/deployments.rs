//! Systems that OSTree deploys (ostree(1), bootc(8)): the root filesystem holds a directory for each
//! deployment, and the boot loader's entry says which of them is booted.

use std::cmp::Ordering;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::block_id::BlockId;
use super::super::system_tree::SystemTree;
use super::search::{FoundRoot, Search};
use super::system::system;
use crate::agent::root::RootDir;
use crate::block::partition_types::PartitionRole;
use crate::linux::{boot_entry, version};
use crate::protocol::disks::{Kind, Mount};
use crate::protocol::warning::{Warning, WarningCode};

const DEPLOY: &str = "/ostree/deploy";
/// Limit on the deployments, and on the entries of a boot loader.
const MAX_ENTRIES: usize = 64;

/// An entry of the boot loader that boots a deployment.
struct Booting {
    /// The deployment: a path, by way of links.
    path: String,
    version: String,
    /// The partition that the entry is on; `None` for that of the root.
    partition: Option<BlockId>,
}

/// The system of the deployment that is booted. `own` mounts the filesystem, which is mounted at
/// `path` now. Warns of deployments that cannot be mounted.
pub(super) fn booted(
    search: &mut Search<'_>,
    device: &BlockId,
    own: &Mount,
    path: &Path,
) -> Option<FoundRoot> {
    let root = RootDir::open(path).ok()?;
    let deployments = deployments(&root);
    if deployments.is_empty() {
        if root.has_directory("/composefs/images") || root.has_directory("/state/deploy") {
            let reason = "a system that is deployed with composefs alone (bootc), not mounted";
            let warning = Warning::new(WarningCode::Unsupported, &device.device, reason);
            search.warnings.push(warning);
        }
        return None;
    }
    let entry = newest_entry(search, device, &root, &deployments);
    let (chosen, boot) = match entry {
        Some((deployment, partition)) => (deployment, partition),
        None => (last_made(path, &deployments)?, None),
    };
    let tree = RootDir::open(&path.join(chosen.trim_start_matches('/'))).ok()?;
    // `/ostree/deploy/OS/deploy/CHECKSUM.SERIAL`
    let stateroot: PathBuf = Path::new(&chosen).components().take(4).collect();
    let bind = |directory: &str, target: &str| Mount::bind(format!("/sysroot{directory}"), target);
    let mut mounts = vec![
        Mount {
            directory: Some(chosen.clone()),
            ..own.clone()
        },
        Mount {
            target: "/sysroot".to_owned(),
            ..own.clone()
        },
        bind(&format!("{}/var", stateroot.display()), "/var"),
    ];
    match boot {
        Some(boot) => mounts.push(Mount::new(&boot.device, "/boot", boot.kind)),
        None if root.has("/boot/loader") => mounts.push(bind("/boot", "/boot")),
        None => {}
    }
    system(search, device, mounts, SystemTree::new(tree))
}

/// The paths of all deployments.
fn deployments(root: &RootDir) -> Vec<String> {
    let systems = root.names(DEPLOY).into_iter();
    let all = systems.flat_map(|os| {
        let directory = format!("{DEPLOY}/{os}/deploy");
        let names = root.names(&directory).into_iter();
        names.map(move |name| format!("{directory}/{name}"))
    });
    let is_one = |path: &String| !path.ends_with(".origin") && root.has_directory(path);
    all.filter(is_one).take(MAX_ENTRIES).collect()
}

/// The deployment that the newest entry of the boot loader names, and the partition of that entry.
fn newest_entry(
    search: &mut Search<'_>,
    device: &BlockId,
    root: &RootDir,
    deployments: &[String],
) -> Option<(String, Option<BlockId>)> {
    let mut entries = entries(root, "/boot", None);
    if entries.is_empty() {
        for other in boot_partitions(search.known, device) {
            if let Some(mounted) = search.mounted(other, &[], "boot")
                && let Ok(boot) = RootDir::open(&mounted.path)
            {
                entries.extend(self::entries(&boot, "", Some(other)));
                entries.extend(self::entries(&boot, "/boot", Some(other)));
            }
        }
    }
    entries.sort_by(|one, other| version::compare(&other.version, &one.version));
    entries.into_iter().find_map(|entry| {
        let found = deployments
            .iter()
            .find(|path| root.is_same(path, &entry.path))?;
        Some((found.clone(), entry.partition))
    })
}

/// The entries below `directory` that boot a deployment.
fn entries(root: &RootDir, directory: &str, partition: Option<&BlockId>) -> Vec<Booting> {
    let directory = format!("{directory}{}", boot_entry::DIRECTORY);
    let names = root.names(&directory).into_iter().take(MAX_ENTRIES);
    let found = names
        .filter(|name| name.ends_with(".conf"))
        .filter_map(|name| {
            let entry = boot_entry::parse(&root.text(&format!("{directory}/{name}"))?);
            Some(Booting {
                path: entry.option("ostree")?.to_owned(),
                version: entry.version.unwrap_or_default(),
                partition: partition.cloned(),
            })
        });
    found.collect()
}

/// Partitions that may hold a boot loader's entries: those of the same disk, and those that are
/// made for it first.
fn boot_partitions<'a>(known: &'a [BlockId], device: &BlockId) -> Vec<&'a BlockId> {
    use Kind::{Btrfs, Ext2, Ext3, Ext4, Vfat, Xfs};
    let mut found: Vec<_> = known
        .iter()
        .filter(|other| other.device != device.device)
        .filter(|other| matches!(other.kind, Ext2 | Ext3 | Ext4 | Xfs | Btrfs | Vfat))
        .filter(|other| device.disk.is_none() || other.disk == device.disk)
        .collect();
    found.sort_by_key(|other| match other.role() {
        Some(PartitionRole::Boot) => 0,
        _ if other.label.as_deref() == Some("boot") => 1,
        _ => 2,
    });
    found
}

/// Without an entry: the deployment that was made last.
fn last_made(path: &Path, deployments: &[String]) -> Option<String> {
    let made = |deployment: &String| {
        let data = fs::symlink_metadata(path.join(deployment.trim_start_matches('/')));
        data.map_or((0, 0), |data| (data.ctime(), data.ctime_nsec()))
    };
    let newest = deployments
        .iter()
        .reduce(|best, one| match made(one).cmp(&made(best)) {
            Ordering::Greater => one,
            _ => best,
        });
    newest.cloned()
}
