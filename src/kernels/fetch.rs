//! `bivouac kernel fetch`: packages from the package manager or from files, unpacked, checked, and put in
//! their place.

use std::path::{Path, PathBuf};

use super::job::Job;
use super::package_manager;
use super::store::{NewKernel, Store};
use super::tree::Tree;
use crate::appliance;
use crate::host::kernel::Kernel;
use crate::launch::{Failure, Progress};

/// `packages` are names of the package manager's, or files.
pub(crate) fn run(packages: &[PathBuf], progress: &dyn Progress) -> Result<Vec<String>, Failure> {
    let store = Store::open(progress)?;
    let packages = packages.to_vec();
    Job::run(progress, move |job| {
        let new = store.new_kernel()?;
        let (files, names): (Vec<_>, Vec<_>) = packages.into_iter().partition(|path| is_file(path));
        let files = match files.is_empty() || !names.is_empty() {
            true => {
                let downloaded = package_manager::download(job, new.path(), &names)?;
                files.into_iter().chain(downloaded).collect()
            }
            false => files,
        };
        unpack(job, new, &files)
    })
}

/// Names of packages have no slash.
fn is_file(package: &Path) -> bool {
    let end = package.extension().unwrap_or_default();
    end == "deb" || end == "rpm" || package.components().count() > 1
}

fn unpack(job: &Job, new: NewKernel<'_>, packages: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let mut tree = Tree::new(job, new.path().join("tree"));
    for package in packages {
        let name = package.file_name().unwrap_or_default();
        job.status(format!("unpacking {}", name.display()));
        tree.add(package)?;
    }
    job.status("making the index of the modules");
    let release = tree.finish()?;
    job.status("checking the modules");
    let built = Kernel {
        image: tree.directory().join(format!("boot/vmlinuz-{release}")),
        release: Some(release.clone()),
        modules: Some(tree.directory().join("lib/modules").join(&release)),
        newer_unreadable: None,
    };
    // All that an appliance needs is there and can be read.
    appliance::initramfs_with(&built, b"")?;
    appliance::boot_image(&built)?;
    let tree = tree.directory().to_owned();
    let place = new.publish(&tree, &release)?;
    Ok(vec![format!("fetched {release} to {}", place.display())])
}
