//! Kernel packages by dnf: `dnf download`, which is in dnf5 and in dnf-plugins-core.

use std::path::Path;

use super::programs::Programs;
use crate::launch::Failure;

/// The kernel, and its modules, which Fedora and its relatives have in one to three packages by age.
const KERNEL: &str = "kernel-core";
const MODULES: [&str; 2] = ["kernel-modules-core", "kernel-modules"];

pub(super) fn download(
    programs: &Programs<'_>,
    packages: &Path,
    names: Vec<String>,
) -> Result<(), Failure> {
    let cache = format!("--setopt=cachedir={}/cache", programs.scratch.display());
    let download = |names: &[&str]| {
        let to = packages.to_string_lossy();
        let options = [
            "download",
            "--quiet",
            &cache,
            "--arch=x86_64",
            "--destdir",
            &to,
        ];
        programs.download("dnf", &[&options[..], names].concat(), packages, 0)
    };
    if !names.is_empty() {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        download(&names)?;
        return Ok(());
    }
    download(&[KERNEL])?;
    for modules in MODULES {
        if let Err(failure) = download(&[modules]) {
            programs.job.go_on().map_err(anyhow::Error::from)?;
            tracing::debug!("{:#}", failure.error);
        }
    }
    Ok(())
}
