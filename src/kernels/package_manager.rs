//! Downloads kernel packages by the distribution's own package manager, as any user, into a directory of
//! ours: `apt-get download` or `dnf download`. Nothing is installed, and the system's own lists and
//! caches stay as they are. The package manager checks what it downloads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::job::Job;
use super::programs::{BY_HAND, Programs};
use super::{apt, dnf};
use crate::host::programs::find;
use crate::launch::Failure;

/// Downloads these packages, or the distribution's kernel with its modules, to a directory below `scratch`.
pub(super) fn download(
    job: &Job,
    scratch: &Path,
    names: &[PathBuf],
) -> Result<Vec<PathBuf>, Failure> {
    let name = |path: &PathBuf| path.to_str().map(str::to_owned);
    let names: Option<Vec<_>> = names.iter().map(name).collect();
    let names = names.ok_or_else(|| anyhow!("the name of a package is not UTF-8"))?;
    // It would be taken for an option.
    if let Some(odd) = names.iter().find(|name| name.starts_with('-')) {
        return Err(anyhow!("{odd:?} is no name of a package").into());
    }
    let programs = Programs { job, scratch };
    let packages = scratch.join("packages");
    fs::create_dir(&packages).context("creating a directory for packages")?;
    if find(Path::new("apt-get")).is_some() && Path::new("/var/lib/dpkg/status").exists() {
        apt::download(&programs, &packages, names)?;
    } else if find(Path::new("dnf")).is_some() {
        dnf::download(&programs, &packages, names)?;
    } else {
        return Err(Failure::with_hint(
            anyhow!("this host has neither apt-get nor dnf to download a kernel with"),
            BY_HAND,
        ));
    }
    let entries = fs::read_dir(&packages).context("reading the directory of packages")?;
    let files = entries.flatten().map(|entry| entry.path());
    let is_package = |path: &PathBuf| {
        path.extension()
            .is_some_and(|end| end == "deb" || end == "rpm")
    };
    let mut files: Vec<_> = files.filter(is_package).collect();
    files.sort();
    Ok(files)
}
