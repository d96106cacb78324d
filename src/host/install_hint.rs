//! The command that installs a missing package on this host's distribution, which os-release(5) names.
//! Only for messages; never runs it.

use std::fs;

use crate::linux::os_release;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    Qemu,
    /// Its storage daemon.
    QemuStorage,
    /// Its driver for HTTP.
    QemuCurl,
    Uefi,
    Kernel,
    Passt,
    Cryptsetup,
}

/// Distributions with the same package names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Debian,
    Ubuntu,
    RedHat,
    Suse,
    Arch,
    Alpine,
}

/// The install command in back-quotes, or a sentence if the distribution is unknown.
pub fn command_for(package: Package) -> String {
    command_on(&own_os_release(), package)
}

/// The package of a Debian-like distribution that depends on its newest kernel.
pub(crate) fn kernel_package() -> &'static str {
    match family(&own_os_release()) {
        Some(Family::Ubuntu) => "linux-image-generic",
        _ => "linux-image-amd64",
    }
}

fn own_os_release() -> Vec<u8> {
    let mut paths = os_release::PATHS.iter();
    paths
        .find_map(|path| fs::read(path).ok())
        .unwrap_or_default()
}

fn command_on(os_release: &[u8], package: Package) -> String {
    use Family::{Alpine, Arch, Debian, RedHat, Suse, Ubuntu};
    use Package::{Cryptsetup, Kernel, Passt, Qemu, QemuCurl, QemuStorage, Uefi};
    let Some(family) = family(os_release) else {
        let what = match package {
            Qemu => "QEMU's emulator for x86_64",
            QemuStorage => "QEMU's storage daemon",
            QemuCurl => "QEMU's block driver for HTTP (curl)",
            Uefi => "the UEFI firmware of edk2 (OVMF)",
            Kernel => "a kernel with its modules",
            Passt => "passt",
            Cryptsetup => "cryptsetup",
        };
        return format!("install {what} with this system's package manager");
    };
    let command = match (family, package) {
        (Debian | Ubuntu, Qemu) => "sudo apt-get install qemu-system-x86",
        (Debian | Ubuntu, Uefi) => "sudo apt-get install ovmf",
        (Debian, Kernel) => "sudo apt-get install linux-image-amd64",
        (Ubuntu, Kernel) => "sudo apt-get install linux-image-generic",
        // In one or the other, by the release.
        (Debian | Ubuntu, QemuStorage) => "sudo apt-get install qemu-system-common qemu-utils",
        (RedHat, QemuStorage) => "sudo dnf install qemu-img",
        (Suse, QemuStorage) => "sudo zypper install qemu-img",
        (Arch, QemuStorage) => "sudo pacman -S qemu-img",
        (Alpine, QemuStorage) => "sudo apk add qemu-img",
        (Debian | Ubuntu, QemuCurl) => "sudo apt-get install qemu-block-extra",
        (RedHat, QemuCurl) => "sudo dnf install qemu-block-curl",
        (Suse, QemuCurl) => "sudo zypper install qemu-block-curl",
        (Arch, QemuCurl) => "sudo pacman -S qemu-block-curl",
        (Alpine, QemuCurl) => "sudo apk add qemu-block-curl",
        (RedHat, Qemu) => "sudo dnf install qemu-kvm",
        (RedHat, Uefi) => "sudo dnf install edk2-ovmf",
        (RedHat, Kernel) => "sudo dnf install kernel",
        (Suse, Qemu) => "sudo zypper install qemu-x86",
        (Suse, Uefi) => "sudo zypper install qemu-ovmf-x86_64",
        (Suse, Kernel) => "sudo zypper install kernel-default",
        (Arch, Qemu) => "sudo pacman -S qemu-system-x86",
        (Arch, Uefi) => "sudo pacman -S edk2-ovmf",
        (Arch, Kernel) => "sudo pacman -S linux",
        (Alpine, Qemu) => "sudo apk add qemu-system-x86_64",
        (Alpine, Uefi) => "sudo apk add ovmf",
        (Alpine, Kernel) => "sudo apk add linux-virt",
        (Debian | Ubuntu, Passt) => "sudo apt-get install passt",
        (RedHat, Passt) => "sudo dnf install passt",
        (Suse, Passt) => "sudo zypper install passt",
        (Arch, Passt) => "sudo pacman -S passt",
        (Alpine, Passt) => "sudo apk add passt",
        (Debian | Ubuntu, Cryptsetup) => "sudo apt-get install cryptsetup-bin",
        (RedHat, Cryptsetup) => "sudo dnf install cryptsetup",
        (Suse, Cryptsetup) => "sudo zypper install cryptsetup",
        (Arch, Cryptsetup) => "sudo pacman -S cryptsetup",
        (Alpine, Cryptsetup) => "sudo apk add cryptsetup",
    };
    format!("`{command}`")
}

/// `ID` first, then the words of `ID_LIKE`, closest first.
fn family(os_release: &[u8]) -> Option<Family> {
    let field = |name| os_release::field(os_release, name).unwrap_or_default();
    let words = format!("{} {}", field("ID"), field("ID_LIKE"));
    words.split_whitespace().find_map(|word| {
        Some(match word {
            "debian" => Family::Debian,
            "ubuntu" => Family::Ubuntu,
            "fedora" | "rhel" | "centos" => Family::RedHat,
            "suse" | "opensuse" | "sles" => Family::Suse,
            "arch" => Family::Arch,
            "alpine" => Family::Alpine,
            _ => return None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_that_of_the_distribution_or_of_the_one_it_is_like() {
        let qemu = |os_release: &str| command_on(os_release.as_bytes(), Package::Qemu);
        assert_eq!(
            qemu("ID=debian\n"),
            "`sudo apt-get install qemu-system-x86`"
        );
        assert_eq!(
            qemu("NAME=x\nID=rocky\nID_LIKE=\"rhel centos fedora\"\n"),
            "`sudo dnf install qemu-kvm`"
        );
        assert_eq!(
            command_on(b"ID=linuxmint\nID_LIKE=\"ubuntu debian\"", Package::Kernel),
            "`sudo apt-get install linux-image-generic`"
        );
    }

    #[test]
    fn an_unknown_distribution_gets_a_sentence() {
        assert_eq!(
            command_on(b"ID=plan9", Package::Uefi),
            "install the UEFI firmware of edk2 (OVMF) with this system's package manager"
        );
    }
}
