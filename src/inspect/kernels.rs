//! The kernels that are installed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::image_files::{ImageFiles, name};
use super::kernel_images::{KernelImage, images};
use crate::protocol::FileKind;
use crate::protocol::disks::Mount;
use crate::session::SessionError;

/// A kernel: an image, modules, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Its release, as its image says or is named, and as its modules are named.
    pub release: String,
    pub image: Option<String>,
    pub modules: Option<String>,
}

/// Where modules are, and where NixOS has what it boots: links to each generation, the current one
/// first.
const MODULES: [&str; 2] = ["/usr/lib/modules", "/lib/modules"];
const NIX: &str = "/nix/var/nix/profiles";
/// Limit on the generations of NixOS that are read.
const MAX_GENERATIONS: usize = 32;
/// The most that is read of the name of a package.
const MAX_NAME: u64 = 256;

/// A directory of modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Modules {
    release: String,
    path: String,
    /// An image that belongs to them.
    image: Option<String>,
    /// The package that they are of, on Arch Linux, which names the image.
    package: Option<String>,
}

/// The kernels of /boot and of the directories of modules, the newest last. `mounts` are those of
/// the system.
pub async fn kernels(files: ImageFiles<'_>, mounts: &[Mount]) -> Result<Vec<Kernel>, SessionError> {
    let mut modules = modules(files).await?;
    let releases: Vec<_> = modules.iter().map(|one| one.release.clone()).collect();
    let images = images(files, mounts, &releases).await?;
    let is_named = |image: &KernelImage| {
        let suffix = image.suffix.as_ref();
        image.release.is_some() || suffix.is_none_or(|suffix| releases.contains(suffix))
    };
    if !images.iter().all(is_named) {
        for one in &mut modules {
            let path = format!("{}/pkgbase", one.path);
            let name = files.text(&path, MAX_NAME).await?;
            one.package = name.map(|name| name.trim().to_owned());
        }
    }
    Ok(combine(&images, modules))
}

async fn modules(files: ImageFiles<'_>) -> Result<Vec<Modules>, SessionError> {
    let mut found = Vec::new();
    for directory in MODULES {
        for path in directories(files, directory).await? {
            // Fedora and Arch have the image there, with or without a copy in /boot.
            let image = format!("{path}/vmlinuz");
            let image = files.stat(&image).await?.map(|_| image);
            found.push(Modules::new(path, image));
        }
        // The other is the same directory, or that of a system with /usr of its own.
        if !found.is_empty() {
            break;
        }
    }
    // NixOS has neither directory.
    let profiles = match found.is_empty() {
        true => files.list(NIX).await?,
        false => Vec::new(),
    };
    let generations = profiles
        .iter()
        .filter_map(name)
        .filter(|name| *name == "system" || name.starts_with("system-") && name.ends_with("-link"));
    for generation in generations.take(MAX_GENERATIONS) {
        let top = format!("{NIX}/{generation}");
        let image = format!("{top}/kernel");
        let image = files.stat(&image).await?.map(|_| image);
        let directory = format!("{top}/kernel-modules/lib/modules");
        for path in directories(files, &directory).await? {
            found.push(Modules::new(path, image.clone()));
        }
    }
    Ok(found)
}

/// The paths of the directories in a directory.
async fn directories(files: ImageFiles<'_>, path: &str) -> Result<Vec<String>, SessionError> {
    let entries = files.list(path).await?;
    // NixOS has links to those of a package.
    let is_directory = |kind| matches!(kind, FileKind::Directory | FileKind::Link);
    let directories = entries
        .iter()
        .filter(|entry| (entry.stat.as_ref()).is_some_and(|stat| is_directory(stat.kind)));
    let names = directories.filter_map(name);
    Ok(names.map(|name| format!("{path}/{name}")).collect())
}

impl Modules {
    fn new(path: String, image: Option<String>) -> Self {
        Self {
            release: path.rsplit('/').next().unwrap_or_default().to_owned(),
            path,
            image,
            package: None,
        }
    }

    /// Whether an image with this suffix is theirs. Alpine has vmlinuz-lts, and a number before
    /// `lts` in the release.
    fn is_of(&self, suffix: &str) -> bool {
        let flavour = self.release.strip_suffix(suffix);
        self.package.as_deref() == Some(suffix) || flavour.is_some_and(|rest| rest.ends_with('-'))
    }
}

fn combine(images: &[KernelImage], modules: Vec<Modules>) -> Vec<Kernel> {
    let mut found: BTreeMap<String, Kernel> = BTreeMap::new();
    for image in images {
        let suffix = image.suffix.as_deref();
        let is_exact = |one: &&Modules| Some(&*one.release) == suffix;
        let by_name = || suffix.and_then(|suffix| modules.iter().find(|one| one.is_of(suffix)));
        let exact = modules.iter().find(is_exact).map(|one| one.release.clone());
        let release = exact
            .or_else(|| image.release.clone())
            .or_else(|| by_name().map(|one| one.release.clone()))
            .or_else(|| suffix.map(str::to_owned));
        if let Some(release) = release {
            let kernel = found.entry(release).or_default();
            kernel.image.get_or_insert_with(|| image.path.clone());
        }
    }
    for one in modules {
        let kernel = found.entry(one.release).or_default();
        kernel.modules.get_or_insert(one.path);
        kernel.image = kernel.image.take().or(one.image);
    }
    let mut kernels: Vec<_> = found.into_iter().collect();
    kernels.sort_by_key(|(release, _)| numbers(release));
    let release = |(release, kernel): (String, Kernel)| Kernel { release, ..kernel };
    kernels.into_iter().map(release).collect()
}

/// A release for comparing: its runs of digits as numbers.
fn numbers(release: &str) -> Vec<u64> {
    let runs = release.split(|c: char| !c.is_ascii_digit());
    runs.filter_map(|run| run.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images as `SUFFIX`, or `SUFFIX=RELEASE` with what the image itself says.
    fn seen(images: &[&str], modules: &[(&str, Option<&str>, Option<&str>)]) -> Vec<String> {
        let image = |text: &&str| {
            let (suffix, release) = match text.split_once('=') {
                Some((suffix, release)) => (suffix, Some(release.to_owned())),
                None => (*text, None),
            };
            KernelImage {
                path: format!("/boot/{suffix}"),
                suffix: (!suffix.is_empty()).then(|| suffix.to_owned()),
                release,
            }
        };
        let images: Vec<_> = images.iter().map(image).collect();
        let modules = modules.iter().map(|(release, image, package)| Modules {
            package: package.map(str::to_owned),
            ..Modules::new(format!("/lib/modules/{release}"), image.map(str::to_owned))
        });
        let text = |kernel: Kernel| {
            let image = kernel.image.unwrap_or("-".into());
            format!("{} {image} {}", kernel.release, kernel.modules.is_some())
        };
        combine(&images, modules.collect())
            .into_iter()
            .map(text)
            .collect()
    }

    #[test]
    fn images_and_modules_of_one_release_are_one_kernel() {
        let plain = |release| (release, None, None);
        let debian = seen(
            &["6.1.0-9-amd64", "6.1.0-10-amd64"],
            &[
                plain("6.1.0-10-amd64"),
                plain("6.1.0-9-amd64"),
                plain("5.10.0"),
            ],
        );
        assert_eq!(
            debian,
            [
                "5.10.0 - true",
                "6.1.0-9-amd64 /boot/6.1.0-9-amd64 true",
                "6.1.0-10-amd64 /boot/6.1.0-10-amd64 true",
            ]
        );
        let alpine = seen(&["lts"], &[plain("6.6.1-0-lts")]);
        assert_eq!(alpine, ["6.6.1-0-lts /boot/lts true"]);
        // The image in the directory of modules is there too; that of /boot is booted.
        let fedora = seen(
            &["6.8.5"],
            &[("6.8.5", Some("/lib/modules/6.8.5/vmlinuz"), None)],
        );
        assert_eq!(fedora, ["6.8.5 /boot/6.8.5 true"]);
    }

    #[test]
    fn an_image_belongs_to_the_release_that_it_says_or_the_package_that_names_it() {
        let arch = [
            ("6.18.35-1-lts", None, Some("linux-lts")),
            ("7.0.12-arch1-1", None, Some("linux")),
        ];
        let expected = [
            "6.18.35-1-lts /boot/linux-lts true",
            "7.0.12-arch1-1 /boot/linux true",
        ];
        assert_eq!(seen(&["linux", "linux-lts"], &arch), expected);
        let says = ["linux=7.0.12-arch1-1", "linux-lts=6.18.35-1-lts"];
        assert_eq!(
            seen(&says, &arch.map(|(release, ..)| (release, None, None))),
            expected
        );
        // A name that says nothing, and no other way to know.
        assert_eq!(seen(&["=6.1"], &[]), ["6.1 /boot/ false"]);
        assert!(seen(&[""], &[]).is_empty());
        assert_eq!(seen(&["linux"], &[]), ["linux /boot/linux false"]);
    }
}
