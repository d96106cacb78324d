//! The kernels of trees in which neither names nor directories say which they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bivouac::inspect::image_files::ImageFiles;
use bivouac::inspect::kernels::kernels;
use bivouac::protocol::disks::{Kind, Mount};

use crate::env::filesystems::write_files;
use crate::env::kernel_images::bzimage;
use crate::guest::Agent;

/// `RELEASE IMAGE MODULES` of each kernel of a tree.
async fn found(root: &Path, mounts: &[Mount]) -> Vec<String> {
    let (_agent, session) = Agent::with_session().await;
    let files = ImageFiles::new(&session, root.to_str().unwrap(), true);
    let kernels = kernels(files, mounts).await.unwrap();
    let text = |part: Option<String>| part.unwrap_or("-".to_owned());
    let lines = kernels.into_iter().map(|kernel| {
        format!(
            "{} {} {}",
            kernel.release,
            text(kernel.image),
            text(kernel.modules)
        )
    });
    lines.collect()
}

#[tokio::test]
async fn generations_of_nixos_have_their_modules_and_images_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (old, new) = (bzimage("6.6.1"), bzimage("6.12.3"));
    write_files(
        root,
        &[
            ("nix/store/a-linux/bzImage", &new),
            ("nix/store/a-modules/lib/modules/6.12.3/modules.dep", ""),
            ("boot/kernels/a-linux-6.12.3-bzImage", &new),
            ("boot/kernels/a-initrd-linux-6.12.3-initrd", "i"),
            ("boot/EFI/nixos/b-linux-6.6.1-bzImage.efi", &old),
        ],
    );
    let system = root.join("nix/store/a-system");
    fs::create_dir(&system).unwrap();
    symlink("/nix/store/a-linux/bzImage", system.join("kernel")).unwrap();
    symlink("/nix/store/a-modules", system.join("kernel-modules")).unwrap();
    let profiles = root.join("nix/var/nix/profiles");
    fs::create_dir_all(&profiles).unwrap();
    symlink("system-2-link", profiles.join("system")).unwrap();
    symlink("/nix/store/a-system", profiles.join("system-2-link")).unwrap();
    let modules = "/nix/var/nix/profiles/system/kernel-modules/lib/modules/6.12.3";
    assert_eq!(
        found(root, &[]).await,
        [
            "6.6.1 /boot/EFI/nixos/b-linux-6.6.1-bzImage.efi -".to_owned(),
            format!("6.12.3 /boot/kernels/a-linux-6.12.3-bzImage {modules}"),
        ]
    );
}

#[tokio::test]
async fn the_entries_of_a_boot_loader_name_kernels_on_their_own_partition() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let image = bzimage("6.9.0");
    write_files(
        root,
        &[
            (
                "efi/loader/entries/a.conf",
                "title A\nlinux /0123/6.9.0/linux\n",
            ),
            ("efi/loader/entries/b.conf", "linux /gone\n"),
            ("efi/0123/6.9.0/linux", &image),
            ("lib/modules/6.9.0/modules.dep", ""),
            ("boot/vmlinuz.old", ""),
        ],
    );
    // A link to the image that is there already.
    symlink("/efi/0123/6.9.0/linux", root.join("boot/vmlinuz")).unwrap();
    let efi = [Mount::new("/dev/vda1", "/efi", Kind::Vfat)];
    let expected = ["6.9.0 /boot/vmlinuz /lib/modules/6.9.0"];
    assert_eq!(found(root, &efi).await, expected);
    fs::remove_file(root.join("boot/vmlinuz")).unwrap();
    let expected = ["6.9.0 /efi/0123/6.9.0/linux /lib/modules/6.9.0"];
    assert_eq!(found(root, &efi).await, expected);
}
