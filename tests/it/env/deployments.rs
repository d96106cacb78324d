//! Disks of systems that OSTree deploys, made by ostree(1) itself.

use std::fs;
use std::path::{Path, PathBuf};

use super::filesystems::{disk, filesystem, run, tree};

/// Two deployments, of which the boot loader boots the second, and /boot as a partition of its own,
/// the first.
pub fn disk_with_boot_partition(dir: &Path) -> PathBuf {
    let sysroot = sysroot(dir);
    let boot = dir.join("ostree-boot");
    fs::rename(sysroot.join("boot"), &boot).unwrap();
    fs::create_dir(sysroot.join("boot")).unwrap();
    let options = |from: &Path| ["-q", "-d", from.to_str().unwrap()].map(str::to_owned);
    let made = |name: &str, mib, from: &Path| {
        let options = options(from);
        let options: Vec<_> = options.iter().map(|option| &**option).collect();
        filesystem(dir, name, mib, "mkfs.ext4", &options)
    };
    let (boot, root) = (made("o-boot", 16, &boot), made("o-root", 48, &sysroot));
    let script = "label: gpt\nstart=1MiB, size=16MiB\nstart=17MiB, size=48MiB\n";
    disk(dir, "ostree", 68, script, &[(1, &boot), (17, &root)])
}

/// The files of a root filesystem.
fn sysroot(dir: &Path) -> PathBuf {
    let sysroot = dir.join("sysroot");
    fs::create_dir(&sysroot).unwrap();
    let at = sysroot.to_str().unwrap();
    run("ostree", &["admin", "init-fs", at]);
    run("ostree", &["admin", "os-init", "core", "--sysroot", at]);
    let repository = format!("--repo={at}/ostree/repo");
    for version in ["1", "2"] {
        let os = format!("ID=deployed\nPRETTY_NAME=\"Deployed {version}\"\n");
        let files = tree(
            dir,
            &format!("ostree-{version}"),
            &[
                ("usr/lib/os-release", &os),
                ("usr/lib/modules/6.1.0/vmlinuz", version),
                ("usr/lib/modules/6.1.0/initramfs.img", "i"),
                ("usr/etc/hostname", "deployed\n"),
            ],
        );
        for directory in ["sysroot", "var", "boot", "proc", "dev", "sys", "run", "tmp"] {
            fs::create_dir(files.join(directory)).unwrap();
        }
        let from = format!("--tree=dir={}", files.display());
        run(
            "ostree",
            &[&repository, "commit", "--branch=main", &from, "-s", version],
        );
        run(
            "ostree",
            &["admin", "deploy", "--sysroot", at, "--os=core", "main"],
        );
    }
    fs::write(sysroot.join("ostree/deploy/core/var/kept"), "in var\n").unwrap();
    sysroot
}
