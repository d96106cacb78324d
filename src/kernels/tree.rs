//! A kernel and its modules out of packages, below a directory: `boot/vmlinuz-RELEASE` and
//! `lib/modules/RELEASE`. Creates new files there and nothing else.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, anyhow};

use super::job::Job;
use crate::appliance::depmod;
use crate::launch::Failure;
use crate::package;

/// How much is written at most, in bytes, and how many files. Debian's kernel has 200 MB in 3,000.
const MOST_BYTES: u64 = 2 << 30;
const MOST_FILES: u64 = 20_000;

/// What no appliance loads, below `lib/modules/RELEASE/kernel`. It is half of a kernel's modules.
const LEFT_OUT: &[&str] = &[
    "sound",
    "drivers/gpu",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/media",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/staging",
];

pub(super) struct Tree<'a> {
    job: &'a Job,
    directory: PathBuf,
    /// Of the first file.
    release: Option<String>,
    files: u64,
    bytes: u64,
}

impl<'a> Tree<'a> {
    pub(super) fn new(job: &'a Job, directory: PathBuf) -> Self {
        Self {
            job,
            directory,
            release: None,
            files: 0,
            bytes: 0,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Unpacks what belongs to the kernel in one package.
    pub(super) fn add(&mut self, package: &Path) -> Result<(), Failure> {
        let name = package.file_name().unwrap_or_default().display();
        let unpacked = File::open(package)
            .map_err(anyhow::Error::from)
            .and_then(|file| {
                let file = BufReader::with_capacity(1 << 16, file);
                let mut visit = |path: &Path, content: &mut dyn Read| self.file(path, content);
                Ok(package::read(file, &mut visit)?)
            });
        Ok(unpacked.with_context(|| format!("unpacking {name}"))?)
    }

    fn file(&mut self, path: &Path, content: &mut dyn Read) -> io::Result<()> {
        self.job.go_on()?;
        let Some((release, place)) = place(path) else {
            return Ok(());
        };
        if *self.release.get_or_insert_with(|| release.clone()) != release {
            return Err(io::Error::other("files of two kernels"));
        }
        self.files += 1;
        let path = self.directory.join(place);
        if self.files > MOST_FILES {
            return Err(io::Error::other(format!("more than {MOST_FILES} files")));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = match File::create_new(&path) {
            // The kernel is in `boot` and beside its modules.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            file => file?,
        };
        let left = MOST_BYTES - self.bytes;
        let written = io::copy(&mut content.take(left + 1), &mut file)?;
        if written > left {
            return Err(io::Error::other("more than 2 GiB of modules"));
        }
        self.bytes += written;
        Ok(())
    }

    /// Makes the index of the modules, and checks that there is a kernel with modules. Returns its
    /// release.
    pub(super) fn finish(&self) -> Result<String, Failure> {
        const COMPLETE: &str = "name all packages of one kernel: on Debian linux-image-VERSION; on Ubuntu \
            also linux-modules-VERSION; on Fedora kernel-core, kernel-modules-core and kernel-modules";
        let incomplete =
            |what: &str| Failure::with_hint(anyhow!("the packages have no {what}"), COMPLETE);
        let release = self.release.clone().ok_or_else(|| incomplete("kernel"))?;
        let modules = self.directory.join("lib/modules").join(&release);
        if !self
            .directory
            .join(format!("boot/vmlinuz-{release}"))
            .is_file()
        {
            return Err(incomplete("kernel"));
        }
        if !modules.is_dir() {
            return Err(incomplete("modules"));
        }
        let indexed = depmod::write_index(&modules, || self.job.go_on());
        let count = indexed.with_context(|| format!("the modules of {release}"))?;
        match count {
            0 => Err(incomplete("modules")),
            _ => Ok(release),
        }
    }
}

/// The release of a kernel's file in a package, and where it belongs; `None` for all other files.
fn place(path: &Path) -> Option<(String, PathBuf)> {
    let path = path.strip_prefix("usr").unwrap_or(path);
    if let Ok(name) = path.strip_prefix("boot") {
        let release = name.to_str()?.strip_prefix("vmlinuz-")?;
        return is_release(release).then(|| (release.to_owned(), path.to_owned()));
    }
    let below = path.strip_prefix("lib/modules").ok()?;
    let mut names = below.components();
    let Component::Normal(release) = names.next()? else {
        return None;
    };
    let release = release.to_str().filter(|release| is_release(release))?;
    let file = names.as_path();
    let wanted = match file.to_str()? {
        "vmlinuz" => Path::new("boot").join(format!("vmlinuz-{release}")),
        "modules.builtin" => path.to_owned(),
        name if depmod::is_module(name) && !is_left_out(file) => path.to_owned(),
        _ => return None,
    };
    Some((release.to_owned(), wanted))
}

fn is_left_out(module: &Path) -> bool {
    let module = module.strip_prefix("kernel").unwrap_or(module);
    LEFT_OUT
        .iter()
        .any(|directory| module.starts_with(directory))
}

/// A release is a name of a file, and never begins with a dot.
fn is_release(name: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    let is_one = Path::new(name).file_name() == Some(OsStr::new(name));
    is_one && !name.starts_with('.') && name.len() < 100 && name.chars().all(is_usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<(String, String)> {
        let (release, place) = place(Path::new(path))?;
        Some((release, place.to_str().unwrap().to_owned()))
    }

    #[test]
    fn kernel_and_modules_have_one_place_wherever_a_package_has_them() {
        let kernel = |release: &str| Some((release.to_owned(), format!("boot/vmlinuz-{release}")));
        assert_eq!(of("boot/vmlinuz-6.1.0-56-amd64"), kernel("6.1.0-56-amd64"));
        assert_eq!(
            of("lib/modules/6.8.5-301.fc40.x86_64/vmlinuz"),
            kernel("6.8.5-301.fc40.x86_64")
        );
        assert_eq!(of("usr/lib/modules/6.12/vmlinuz"), kernel("6.12"));
        let module = Some((
            "6.12".to_owned(),
            "lib/modules/6.12/kernel/fs/xfs/xfs.ko.zst".to_owned(),
        ));
        assert_eq!(of("usr/lib/modules/6.12/kernel/fs/xfs/xfs.ko.zst"), module);
        assert_eq!(of("lib/modules/6.12/kernel/fs/xfs/xfs.ko.zst"), module);
        assert!(of("lib/modules/6.12/modules.builtin").is_some());
        assert!(of("lib/modules/6.12/updates/zfs.ko").is_some());
    }

    #[test]
    fn nothing_else_is_taken() {
        for path in [
            "boot/System.map-6.12",
            "boot/vmlinuz-",
            "boot/vmlinuz-.new",
            "boot/grub/vmlinuz-6.12",
            "boot/vmlinuz-a b",
            "lib/modules/.new/kernel/a.ko",
            "lib/modules/6.12",
            "lib/modules/6.12/modules.dep",
            "lib/modules/6.12/build/a.c",
            "lib/modules/6.12/kernel/sound/core/snd.ko.xz",
            "lib/modules/6.12/kernel/drivers/gpu/drm/drm.ko",
            "etc/passwd",
            "",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
