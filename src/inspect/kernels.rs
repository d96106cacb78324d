//! The kernels that are installed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::image_files::{ImageFiles, name};
use crate::protocol::FileKind;
use crate::session::SessionError;

/// A kernel: an image, modules, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Its release, which its image and modules are named after.
    pub release: String,
    pub image: Option<String>,
    pub modules: Option<String>,
}

/// Names of kernel images, before the release.
const IMAGES: [&str; 5] = ["vmlinuz-", "vmlinux-", "bzImage-", "kernel-", "Image-"];

/// The kernels of /boot and of the directories of modules, the newest last.
pub async fn kernels(files: ImageFiles<'_>) -> Result<Vec<Kernel>, SessionError> {
    let boot = files.list("/boot").await?;
    let boot: Vec<_> = boot.iter().filter_map(name).collect();
    let mut directory = "/usr/lib/modules";
    let mut modules = files.list(directory).await?;
    if modules.is_empty() {
        directory = "/lib/modules";
        modules = files.list(directory).await?;
    }
    let is_directory = |kind| kind == FileKind::Directory;
    let modules: Vec<_> = modules
        .iter()
        .filter(|entry| (entry.stat.as_ref()).is_some_and(|stat| is_directory(stat.kind)))
        .filter_map(name)
        .collect();
    let mut own = Vec::new();
    for release in &modules {
        // Fedora and Arch have the image there, with or without a copy in /boot.
        let image = format!("{directory}/{release}/vmlinuz");
        own.extend(files.stat(&image).await?.map(|_| image));
    }
    Ok(combine(&boot, directory, &modules, own))
}

fn combine(boot: &[&str], directory: &str, modules: &[&str], own: Vec<String>) -> Vec<Kernel> {
    let mut found: BTreeMap<&str, Kernel> = BTreeMap::new();
    for &release in modules {
        let kernel = found.entry(release).or_default();
        kernel.modules = Some(format!("{directory}/{release}"));
    }
    for image in &own {
        let release = image.rsplit('/').nth(1).unwrap_or_default();
        if let Some(kernel) = found.get_mut(release) {
            kernel.image = Some(image.clone());
        }
    }
    for &file in boot {
        let release = IMAGES.iter().find_map(|start| file.strip_prefix(start));
        let Some(release) = release.filter(|r| !r.is_empty() && !r.ends_with(".hmac")) else {
            continue;
        };
        // Alpine has vmlinuz-lts, and a number before `lts` in the release of its modules.
        let full = modules.iter().find(|full| {
            let flavour = full.strip_suffix(release);
            flavour.is_some_and(|rest| rest.is_empty() || rest.ends_with('-'))
        });
        let kernel = found.entry(full.unwrap_or(&release)).or_default();
        kernel.image = Some(format!("/boot/{file}"));
    }
    let mut kernels: Vec<_> = found.into_iter().collect();
    kernels.sort_by_key(|(release, _)| numbers(release));
    let release = |(release, kernel): (&str, Kernel)| Kernel {
        release: release.to_owned(),
        ..kernel
    };
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

    fn seen(boot: &[&str], modules: &[&str], own: &[&str]) -> Vec<String> {
        let own = own.iter().map(|image| (*image).to_owned()).collect();
        let kernels = combine(boot, "/lib/modules", modules, own);
        let text = |kernel: Kernel| {
            let image = kernel.image.unwrap_or("-".into());
            format!("{} {image} {}", kernel.release, kernel.modules.is_some())
        };
        kernels.into_iter().map(text).collect()
    }

    #[test]
    fn images_and_modules_of_one_release_are_one_kernel() {
        let debian = seen(
            &[
                "vmlinuz-6.1.0-9-amd64",
                "vmlinuz-6.1.0-10-amd64",
                "initrd.img-6.1.0-9-amd64",
                "vmlinuz-",
            ],
            &["6.1.0-10-amd64", "6.1.0-9-amd64", "5.10.0"],
            &[],
        );
        assert_eq!(
            debian,
            [
                "5.10.0 - true",
                "6.1.0-9-amd64 /boot/vmlinuz-6.1.0-9-amd64 true",
                "6.1.0-10-amd64 /boot/vmlinuz-6.1.0-10-amd64 true",
            ]
        );
        let alpine = seen(&["vmlinuz-lts"], &["6.6.1-0-lts"], &[]);
        assert_eq!(alpine, ["6.6.1-0-lts /boot/vmlinuz-lts true"]);
        let arch = seen(
            &["vmlinuz-linux"],
            &["6.6.1-arch1"],
            &["/usr/lib/modules/6.6.1-arch1/vmlinuz"],
        );
        assert_eq!(
            arch,
            [
                "linux /boot/vmlinuz-linux false",
                "6.6.1-arch1 /usr/lib/modules/6.6.1-arch1/vmlinuz true"
            ]
        );
    }
}
