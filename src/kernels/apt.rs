//! Kernel packages by apt: which they are (`apt-cache depends`), and their files (`apt-get download`).
//! If the system has no lists of packages, or old ones, lists of our own are downloaded first.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};

use super::programs::Programs;
use crate::host::install_hint;
use crate::launch::Failure;

/// How many packages one kernel has at most.
const MOST: usize = 16;

pub(super) fn download(
    programs: &Programs<'_>,
    packages: &Path,
    names: Vec<String>,
) -> Result<(), Failure> {
    let names = match names.is_empty() {
        true => vec![install_hint::kernel_package().to_owned()],
        false => names,
    };
    let own_lists = [
        format!("-oDir::State::Lists={}/lists", programs.scratch.display()),
        format!("-oDir::Cache={}/cache", programs.scratch.display()),
    ];
    if attempt(programs, packages, &names, &[]).is_ok() {
        return Ok(());
    }
    programs.job.go_on().map_err(anyhow::Error::from)?;
    let options: Vec<_> = own_lists.iter().map(String::as_str).collect();
    for directory in ["lists/partial", "cache/archives/partial"] {
        let made = fs::create_dir_all(programs.scratch.join(directory));
        made.context("creating directories for apt")?;
    }
    // A list that cannot be had is an error, which counts if the package is not in the others.
    let strict = ["-oAPT::Update::Error-Mode=any", "update"];
    let update = [&options[..], &strict].concat();
    let updated = programs.run("apt-get", &update, programs.scratch, |job| {
        job.status("downloading lists of packages");
    });
    programs.job.go_on().map_err(anyhow::Error::from)?;
    attempt(programs, packages, &names, &options).or_else(|error| updated.and(Err(error)))
}

fn attempt(
    programs: &Programs<'_>,
    packages: &Path,
    names: &[String],
    options: &[&str],
) -> Result<(), Failure> {
    let all = with_modules(programs, names, options)?;
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let uris = [options, &["download", "--print-uris"], &all].concat();
    let total = total(&programs.run("apt-get", &uris, packages, |_| ())?);
    let download = [options, &["download"], &all].concat();
    programs.download("apt-get", &download, packages, total)?;
    Ok(())
}

/// These packages, and those of the kernel that they depend on.
fn with_modules(
    programs: &Programs<'_>,
    names: &[String],
    options: &[&str],
) -> Result<BTreeSet<String>, Failure> {
    let mut all = BTreeSet::new();
    let mut new = names.to_vec();
    while let Some(name) = new.pop() {
        if !all.insert(name.clone()) {
            continue;
        }
        if all.len() > MOST {
            return Err(anyhow!(
                "{} depends on too many packages of kernels",
                names.join(" ")
            )
            .into());
        }
        let args = [options, &["depends", "--important", &name]].concat();
        let printed = programs.run("apt-cache", &args, programs.scratch, |_| ())?;
        new.extend(dependencies(&printed));
    }
    Ok(all)
}

/// Packages of kernels among what `apt-cache depends` prints.
fn dependencies(printed: &str) -> Vec<String> {
    let lines = printed.lines().filter_map(|line| {
        let (kind, name) = line.trim_start().trim_start_matches('|').split_once(": ")?;
        let is_wanted = ["Depends", "PreDepends"].contains(&kind)
            && ["linux-image-", "linux-modules-"]
                .iter()
                .any(|start| name.starts_with(start));
        is_wanted.then(|| name.to_owned())
    });
    lines.collect()
}

/// The sum of the sizes in lines of `'URI' FILE SIZE HASH`.
fn total(uris: &str) -> u64 {
    let sizes = uris
        .lines()
        .filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok());
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_has_the_packages_that_it_depends_on() {
        let ubuntu = "linux-image-6.8.0-49-generic\n  Depends: kmod\n |Depends: linux-base\n\
            \x20 Depends: linux-modules-6.8.0-49-generic\n  Recommends: linux-image-x\n\
            \x20 PreDepends: <linux-image-y>\n  Conflicts: linux-image-z\n";
        assert_eq!(dependencies(ubuntu), ["linux-modules-6.8.0-49-generic"]);
    }

    #[test]
    fn sizes_of_a_download_are_added() {
        let uris =
            "'http://x/a.deb' a.deb 1480 SHA256:00\n'http://x/b.deb' b.deb 20 SHA256:11\nodd\n";
        assert_eq!(total(uris), 1500);
    }
}
