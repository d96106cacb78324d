//! Files of systems whose root is not simply a filesystem: OSTree deployments, images with nothing
//! but /usr, mounts by units of systemd; and the kernels of Arch Linux.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::env::bivouac::Bivouac;
use crate::env::cases::Cases;
use crate::env::deployments;
use crate::env::filesystems::{disk, filesystem, run, tree};
use crate::env::kernel_images::{bzimage, unified};
use crate::env::residue::sha256;

const USR: &str = "8484680c-9521-48c6-9c11-b0720656f69e";

/// The content of files of an image, one after the other.
fn cat(image: &Path, paths: &[&str]) -> String {
    let places = paths
        .iter()
        .map(|path| format!("{}:{path}", image.display()));
    let finished = Bivouac::new().arg("cat").args(places).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    finished.stdout
}

fn inspect(image: &Path) -> Value {
    let image = image.to_str().unwrap();
    let finished = Bivouac::new().args(["inspect", "--json", image]).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

fn a_deployment_has_its_own_etc_and_the_var_and_boot_of_all(dir: &Path) {
    let image = deployments::disk_with_boot_partition(dir);
    let before = sha256(&image);
    let kernel = "/sysroot/ostree/repo/config";
    let seen = cat(
        &image,
        &["/usr/lib/os-release", "/etc/hostname", "/var/kept", kernel],
    );
    let expected = "ID=deployed\nPRETTY_NAME=\"Deployed 2\"\ndeployed\nin var\n[core]\n";
    assert!(seen.starts_with(expected), "{seen}");
    let report = inspect(&image);
    let system = &report["systems"][0];
    assert_eq!(system["root"], "/dev/vda2");
    assert_eq!(system["kernels"][0]["release"], "6.1.0");
    assert_eq!(sha256(&image), before);
}

fn usr_alone_has_an_empty_root(dir: &Path) {
    let os = "ID=acme\nPRETTY_NAME=\"Acme 1\"\n";
    let files = tree(dir, "usr", &[("lib/os-release", os), ("bin/x", "run\n")]);
    let usr = dir.join("usr.erofs");
    run(
        "mkfs.erofs",
        &["--quiet", usr.to_str().unwrap(), files.to_str().unwrap()],
    );
    let script = format!("label: gpt\nstart=1MiB, size=4MiB, type={USR}\n");
    let image = disk(dir, "usr.img", 8, &script, &[(1, &usr)]);
    assert_eq!(
        cat(&image, &["/usr/lib/os-release", "/bin/x"]),
        format!("{os}run\n")
    );
    let system = &inspect(&image)["systems"][0];
    assert_eq!(system["mounts"][0]["source"], "tmpfs");
}

fn boot_and_home_by_units_and_kernels_by_what_they_say(dir: &Path) {
    let boot = [
        ("vmlinuz-linux", bzimage("7.0.12-arch1-1")),
        ("vmlinuz-linux-lts", "not for x86".to_owned()),
        ("EFI/Linux/arch.efi", unified("6.6.1-zen")),
    ];
    let boot: Vec<_> = boot.iter().map(|(path, text)| (*path, &**text)).collect();
    let files = tree(
        dir,
        "root",
        &[
            ("etc/os-release", "ID=arch\nNAME=Arch\n"),
            // systemd makes /home.
            ("boot/.keep", ""),
            (
                "etc/systemd/system/boot.mount",
                "[Mount]\nWhat=LABEL=BOOT\nWhere=/boot\n",
            ),
            (
                "etc/systemd/system/home.mount",
                "[Mount]\nWhat=/dev/sda3\nWhere=/home\nType=ext4\n",
            ),
            ("usr/lib/modules/7.0.12-arch1-1/pkgbase", "linux\n"),
            ("usr/lib/modules/6.18.35-1-lts/pkgbase", "linux-lts\n"),
        ],
    );
    let wants = files.join("etc/systemd/system/local-fs.target.wants");
    fs::create_dir(&wants).unwrap();
    for name in ["boot.mount", "home.mount"] {
        symlink(format!("../{name}"), wants.join(name)).unwrap();
    }
    let made = |name: &str, files: &Path, label: &str| {
        let options = ["-q", "-L", label, "-d", files.to_str().unwrap()];
        filesystem(dir, name, 8, "mkfs.ext4", &options)
    };
    let root = made("root.ext4", &files, "ROOT");
    let boot = made("boot.ext4", &tree(dir, "boot", &boot), "BOOT");
    let home = made("home.ext4", &tree(dir, "home", &[("file", "hi\n")]), "HOME");
    let script = "label: gpt\nstart=1MiB, size=8MiB\nstart=9MiB, size=8MiB\n\
                  start=17MiB, size=8MiB\n";
    let parts = [(1, &*root), (9, &*boot), (17, &*home)];
    let image = disk(dir, "units.img", 28, script, &parts);
    assert_eq!(cat(&image, &["/home/file"]), "hi\n");
    let report = inspect(&image);
    let kernels = report["systems"][0]["kernels"].as_array().unwrap().iter();
    let kernels: Vec<_> = kernels
        .map(|kernel| {
            json!([
                kernel["release"],
                kernel["image"],
                kernel["modules"].is_string()
            ])
        })
        .collect();
    let expected = [
        json!(["6.6.1-zen", "/boot/EFI/Linux/arch.efi", false]),
        json!(["6.18.35-1-lts", "/boot/vmlinuz-linux-lts", true]),
        json!(["7.0.12-arch1-1", "/boot/vmlinuz-linux", true]),
    ];
    assert_eq!(kernels, expected, "{report:#}");
}

#[test]
fn systems_that_are_more_than_one_filesystem_show_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut cases = Cases::default();
    let mut case = |name: &str, check: fn(&Path)| {
        let dir = dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        cases.case(name, || check(&dir));
    };
    case(
        "ostree",
        a_deployment_has_its_own_etc_and_the_var_and_boot_of_all,
    );
    case("usr", usr_alone_has_an_empty_root);
    case("units", boot_and_home_by_units_and_kernels_by_what_they_say);
}
