//! The kernel for the appliance: one of this host's, with its modules, else one that was fetched. Reads no
//! more of a kernel than its header.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::fetched_kernels;
use super::install_hint::{self, Package};
use crate::linux::bytes::Fields;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The image, for QEMU's `-kernel`.
    pub image: PathBuf,
    pub release: Option<String>,
    /// The directory of its modules. Only a kernel that was named explicitly may have none.
    pub modules: Option<PathBuf>,
    /// A newer kernel that was skipped because it cannot be read.
    pub newer_unreadable: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("the kernel {} cannot be read", path.display())]
    Named {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the kernel {} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there is no kernel {}/vmlinuz-* with its modules in /lib/modules", boot.display())]
    NotFound { boot: PathBuf },
}

impl KernelError {
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Named { .. } => {
                "set BIVOUAC_KERNEL to another kernel, or unset it to use the newest one in /boot"
                    .into()
            }
            Self::Unreadable { path, .. } => unreadable_hint(path),
            Self::NotFound { .. } => format!(
                "`bivouac kernel fetch` (needs no root), {}, or set BIVOUAC_KERNEL to the path of a kernel",
                install_hint::command_for(Package::Kernel)
            ),
        })
    }
}

/// The fix for a named kernel without modules.
pub fn modules_hint() -> String {
    "use a kernel whose modules are in /lib/modules/RELEASE, or beside it as in its package, or \
     unset BIVOUAC_KERNEL"
        .into()
}

/// The fix where no kernel can be read but by root, as Ubuntu installs them.
pub fn unreadable_hint(path: &Path) -> String {
    format!("`bivouac kernel fetch`, or {}", permission_hint(path))
}

/// How such a kernel becomes readable. The second command survives reinstallation.
pub fn permission_hint(path: &Path) -> String {
    let path = path.display();
    format!(
        "`sudo chmod 644 {path}`, or on Debian and Ubuntu for good: `sudo dpkg-statoverride \
         --update --add root root 0644 {path}`"
    )
}

/// The kernel that was named (`--kernel` or BIVOUAC_KERNEL), else the newest one that can be read and
/// has modules, else the newest one that was fetched.
pub fn find(explicit: Option<&Path>) -> Result<Kernel, KernelError> {
    find_with(explicit, Path::new("/"), fetched_kernels::own_directory())
}

/// [`find`] below another root directory. Looks for `boot/vmlinuz-RELEASE` and, for Fedora and Arch,
/// `lib/modules/RELEASE/vmlinuz`; then for what root has fetched.
pub fn find_in(explicit: Option<&Path>, root: &Path) -> Result<Kernel, KernelError> {
    find_with(explicit, root, None)
}

fn find_with(
    explicit: Option<&Path>,
    root: &Path,
    fetched: Option<PathBuf>,
) -> Result<Kernel, KernelError> {
    if let Some(path) = explicit {
        return named(path, root);
    }
    let mut candidates = candidates(root);
    candidates.sort_by_cached_key(|(release, ..)| Reverse(sort_key(release)));
    for directory in [fetched, Some(fetched_kernels::system_directory(root))] {
        let fetched = fetched_kernels::list(&directory.unwrap_or_default()).into_iter();
        let mut fetched: Vec<_> = fetched
            .map(|one| (one.release.clone(), one.image(), one.modules()))
            .collect();
        fetched.sort_by_cached_key(|(release, ..)| Reverse(sort_key(release)));
        candidates.extend(fetched);
    }
    let mut unreadable = None;
    for (release, image, modules) in candidates {
        match File::open(&image) {
            Ok(_) => {
                return Ok(Kernel {
                    image,
                    release: Some(release),
                    modules: Some(modules),
                    newer_unreadable: unreadable.map(|(path, _)| path),
                });
            }
            Err(error) => unreadable = unreadable.or(Some((image, error))),
        }
    }
    Err(match unreadable {
        Some((path, source)) => KernelError::Unreadable { path, source },
        None => KernelError::NotFound {
            boot: root.join("boot"),
        },
    })
}

fn named(path: &Path, root: &Path) -> Result<Kernel, KernelError> {
    let failed = |source| KernelError::Named {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    let of_name = || {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("vmlinuz-").map(str::to_owned)
    };
    let release = header_release(&file).or_else(of_name);
    Ok(Kernel {
        image: path.to_owned(),
        modules: release.as_deref().and_then(|release| {
            let installed = modules_of(root, release);
            installed.or_else(|| unpacked_modules(path, release))
        }),
        release,
        newer_unreadable: None,
    })
}

/// The modules of a kernel in `boot` of an unpacked package, beside its `lib` or `usr/lib`.
fn unpacked_modules(image: &Path, release: &str) -> Option<PathBuf> {
    let tree = image.parent()?.parent()?;
    let usr = tree.join("usr");
    modules_of(tree, release).or_else(|| modules_of(&usr, release))
}

/// Release, image and modules of each kernel that has modules. Skips names that are not UTF-8.
fn candidates(root: &Path) -> Vec<(String, PathBuf, PathBuf)> {
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    };
    let boot = root.join("boot");
    let in_boot = names(&boot).filter_map(|name| {
        let release = name.strip_prefix("vmlinuz-")?.to_owned();
        let modules = modules_of(root, &release)?;
        Some((release, boot.join(&name), modules))
    });
    let beside_modules = names(&root.join("lib/modules")).filter_map(|release| {
        let modules = modules_of(root, &release)?;
        let image = modules.join("vmlinuz");
        image.exists().then_some((release, image, modules))
    });
    in_boot.chain(beside_modules).collect()
}

fn modules_of(root: &Path, release: &str) -> Option<PathBuf> {
    let modules = root.join("lib/modules").join(release);
    modules.is_dir().then_some(modules)
}

/// The release in the header of a bzImage: "HdrS" at 0x202, and at 0x20e the offset minus 0x200 of a
/// string that starts with it (Documentation/arch/x86/boot.rst).
fn header_release(file: &File) -> Option<String> {
    let mut header = [0; 0x0e];
    file.read_exact_at(&mut header, 0x202).ok()?;
    if !header.starts_with(b"HdrS") {
        return None;
    }
    let at = header.le16(0x0c);
    let mut version = [0; 128];
    let read = file.read_at(&mut version, u64::from(at) + 0x200).ok()?;
    let mut words = version.get(..read)?.split(|byte| matches!(byte, 0 | b' '));
    let text = std::str::from_utf8(words.next()?).ok()?;
    (at != 0 && !text.is_empty()).then(|| text.to_owned())
}

/// The order of releases such as `6.1.0-56-cloud-amd64`: greater for a later version and, of the same version, for the shorter name: `-amd64` has more
/// drivers than `-cloud-amd64`, and a release follows its candidates. Only the numbers before the
/// first letter count; text without one comes first.
fn sort_key(release: &str) -> (Vec<u32>, Reverse<usize>, String) {
    let end = release.find(char::is_alphabetic).unwrap_or(release.len());
    let numbers = release[..end].split(|c: char| !c.is_ascii_digit());
    (
        numbers.filter_map(|number| number.parse().ok()).collect(),
        Reverse(release.len()),
        release.to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_releases_are_greater_and_the_plain_flavour_beats_the_special_one() {
        let ascending = [
            "old",
            "5.15.0-105-generic",
            "6.1.0-9-amd64",
            "6.1.0-10-cloud-amd64",
            "6.1.0-10-amd64",
            "6.8.9-300.fc40.x86_64",
            "6.12-rc7-amd64",
            "6.12-amd64",
            "6.12.0-1-amd64",
            "6.12.1+deb13-amd64",
            "6.12.1-amd64",
            "6.100.0-1-amd64",
        ];
        let mut sorted = ascending;
        sorted.reverse();
        sorted.sort_by_key(|release| sort_key(release));
        assert_eq!(sorted, ascending);
    }
}
