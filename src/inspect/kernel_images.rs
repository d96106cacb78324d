//! Finds the images of kernels, and reads their releases.

use std::collections::HashSet;

use super::image_files::{ImageFiles, name};
use crate::linux::{boot_entry, kernel_image};
use crate::protocol::FileKind;
use crate::protocol::disks::Mount;
use crate::session::SessionError;

/// An image of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelImage {
    pub path: String,
    /// What its name has behind the usual beginning, such as a release, or `linux-lts`.
    pub suffix: Option<String>,
    /// What it says itself.
    pub release: Option<String>,
}

/// Names of images, with or without a release behind a hyphen.
const NAMES: [&str; 7] = [
    "vmlinuz", "vmlinux", "bzImage", "zImage", "uImage", "kernel", "Image",
];
/// Endings of files that belong to an image.
const NO_IMAGES: [&str; 4] = [".hmac", ".sig", ".p7s", ".dtb"];

/// Where a system mounts partitions that a boot loader reads, besides /boot.
const BOOT: [&str; 3] = ["/efi", "/boot/efi", "/boot/firmware"];

/// Limit on the images of which the header is read, and on the entries of a boot loader.
const MAX_READ: usize = 64;
const MAX_UNAME: u64 = 256;

/// All images outside the directories of modules, whose names are `releases`. `mounts` are those of
/// the system.
pub async fn images(
    files: ImageFiles<'_>,
    mounts: &[Mount],
    releases: &[String],
) -> Result<Vec<KernelImage>, SessionError> {
    let mut found = below(files, "/boot").await?;
    for directory in BOOT {
        if mounts.iter().any(|mount| mount.target == directory) {
            found.extend(below(files, directory).await?);
        }
    }
    let mut seen = HashSet::new();
    found.retain(|image: &KernelImage| seen.insert(image.path.clone()));
    let is_named = |image: &KernelImage| {
        image
            .suffix
            .as_ref()
            .is_some_and(|suffix| releases.contains(suffix))
    };
    // Of most systems, the names of images and modules agree.
    let unnamed = found.iter_mut().filter(|image| !is_named(image));
    for image in unnamed.take(MAX_READ) {
        image.release = release(files, &image.path).await?;
    }
    Ok(found)
}

/// The release that an image says it has.
pub async fn release(files: ImageFiles<'_>, path: &str) -> Result<Option<String>, SessionError> {
    let Some(head) = files.bytes(path, kernel_image::HEAD).await? else {
        return Ok(None);
    };
    if let Some(release) = kernel_image::release(&head) {
        return Ok(Some(release));
    }
    // A unified kernel image says it itself, or its kernel does.
    if let Some((offset, length)) = kernel_image::section(&head, ".uname") {
        let text = files.bytes_at(path, offset, length.min(MAX_UNAME)).await?;
        return Ok(text.as_deref().and_then(kernel_image::word));
    }
    let Some((offset, _)) = kernel_image::section(&head, ".linux") else {
        return Ok(None);
    };
    let kernel = files.bytes_at(path, offset, kernel_image::HEAD).await?;
    Ok(kernel.as_deref().and_then(kernel_image::release))
}

/// The images on the partition that is mounted at `boot`, files before links to them.
async fn below(files: ImageFiles<'_>, boot: &str) -> Result<Vec<KernelImage>, SessionError> {
    let entries = files.list(boot).await?;
    let has = |wanted: &str| entries.iter().filter_map(name).any(|name| name == wanted);
    let mut found = Vec::new();
    let mut links = Vec::new();
    for entry in &entries {
        let kind = entry.stat.as_ref().map(|stat| stat.kind);
        if let Some(suffix) = name(entry).and_then(suffix) {
            let image = KernelImage {
                path: format!("{boot}/{}", name(entry).unwrap_or_default()),
                suffix: (!suffix.is_empty()).then(|| suffix.to_owned()),
                release: None,
            };
            match kind {
                Some(FileKind::Link) => links.push(image),
                Some(FileKind::File) => found.push(image),
                _ => {}
            }
        }
    }
    found.append(&mut links);
    if has("loader") {
        found.extend(of_entries(files, boot).await?);
    }
    if has("kernels") {
        found.extend(in_directory(files, format!("{boot}/kernels")).await?);
    }
    if has("EFI") {
        let efi = files.list(&format!("{boot}/EFI")).await?;
        for name in efi.iter().filter_map(name) {
            if matches!(name, "Linux" | "nixos") {
                found.extend(in_directory(files, format!("{boot}/EFI/{name}")).await?);
            }
        }
    }
    Ok(found)
}

/// The images in a directory of unified ones, or of NixOS, which names them by their content.
async fn in_directory(
    files: ImageFiles<'_>,
    directory: String,
) -> Result<Vec<KernelImage>, SessionError> {
    let listed = files.list(&directory).await?;
    let names = listed.iter().filter_map(name).filter(|name| {
        let is_image = [".efi", "-bzImage", "-Image"]
            .iter()
            .any(|end| name.ends_with(end));
        is_image && !name.contains("initrd")
    });
    let images = names.map(|name| KernelImage {
        path: format!("{directory}/{name}"),
        ..KernelImage::default()
    });
    Ok(images.collect())
}

/// The images that the entries of a boot loader name.
async fn of_entries(files: ImageFiles<'_>, boot: &str) -> Result<Vec<KernelImage>, SessionError> {
    let directory = format!("{boot}{}", boot_entry::DIRECTORY);
    let mut found = Vec::new();
    for entry in files.list(&directory).await?.iter().take(MAX_READ) {
        let Some(name) = name(entry).filter(|name| name.ends_with(".conf")) else {
            continue;
        };
        let text = files.text(&format!("{directory}/{name}"), 1 << 16).await?;
        let entry = boot_entry::parse(&text.unwrap_or_default());
        let Some(kernel) = entry
            .kernel
            .map(|path| format!("/{}", path.trim_start_matches('/')))
        else {
            continue;
        };
        // From the top of the partition, or of the root where /boot is none.
        for path in [format!("{boot}{kernel}"), kernel] {
            if files.stat(&path).await?.is_some() {
                let file = path.rsplit('/').next().unwrap_or_default();
                let suffix = suffix(file).filter(|suffix| !suffix.is_empty());
                found.push(KernelImage {
                    suffix: suffix.map(str::to_owned),
                    path,
                    release: None,
                });
                break;
            }
        }
    }
    Ok(found)
}

/// What the name of an image has behind the usual beginning; `None` if it is no such name.
fn suffix(name: &str) -> Option<&str> {
    if NO_IMAGES.iter().any(|end| name.ends_with(end)) {
        return None;
    }
    NAMES.iter().find_map(|start| {
        let rest = name.strip_prefix(start)?;
        let rest = rest.strip_suffix(".efi").unwrap_or(rest);
        match rest {
            "" | ".img" => Some(""),
            rest => rest.strip_prefix('-').filter(|rest| !rest.is_empty()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_known_with_and_without_a_release() {
        for (name, expected) in [
            ("vmlinuz-6.1.0-9-amd64", Some("6.1.0-9-amd64")),
            ("vmlinuz-linux-lts", Some("linux-lts")),
            ("kernel-6.1.0.efi", Some("6.1.0")),
            ("vmlinuz", Some("")),
            ("kernel.img", Some("")),
            ("vmlinuz-", None),
            (".vmlinuz-6.1.hmac", None),
            ("vmlinuz-6.1.hmac", None),
            ("initrd.img-6.1", None),
            ("kernels", None),
            ("linux-headers", None),
        ] {
            assert_eq!(suffix(name), expected, "{name}");
        }
    }
}
