//! Two disks with partition tables: a system whose fstab names all sorts of things, and an old
//! disk beside it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::env::filesystems::{disk, filesystem, mounted, tree, write_files};

pub const OS: &str = "ID=testos\nVERSION_ID=7\nPRETTY_NAME=\"Test OS 7\"\n";

const FSTAB: &str = "\
UUID=11111111-2222-3333-4444-555555555555 / xfs defaults 0 0
PARTLABEL=esp /boot/efi vfat umask=0077,x-systemd.automount 0 2
/dev/vda3 none swap sw 0 0
LABEL=home /home ext4 noatime 0 2
/home/srv /srv none bind 0 0
/dev/mapper/my--vg-data /data ext4 defaults 0 2
/dev/my-vg/root /data/lvm ext4 defaults 0 2
PARTUUID=cafe0001-05 /mnt/old ext3 defaults 0 0
/dev/disk/by-label/Ex\\x20Fat /mnt/ex\\040fat exfat defaults 0 0
/dev/sr0 /cdrom iso9660 ro,noauto 0 0
tmpfs /tmp tmpfs defaults 0 0
nas:/export /mnt/nas nfs defaults 0 0
UUID=dead-beef /gone ext4 nofail 0 0
/dev/sdb1 /escape ext2 defaults 0 0
";

/// A root on xfs with its ESP, swap and /home, in a GPT.
pub fn first_disk(dir: &Path) -> PathBuf {
    let uuid = "uuid=11111111-2222-3333-4444-555555555555";
    let root = filesystem(dir, "xfs", 300, "mkfs.xfs", &["-q", "-m", uuid]);
    mounted(&root, |root| {
        write_files(root, &[("usr/lib/os-release", OS), ("etc/fstab", FSTAB)]);
        // Links as they are in real images, and as they are in hostile ones.
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.join(at)).unwrap();
        link("../usr/lib/os-release", "etc/os-release");
        link("/../../proc", "escape");
        for directory in [
            "boot/efi", "home", "srv", "data", "proc", "sys", "dev", "run",
        ] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::create_dir_all(root.join("mnt/old")).unwrap();
    });
    let esp = filesystem(dir, "esp", 40, "mkfs.vfat", &["-F", "32"]);
    let swap = filesystem(dir, "swap", 10, "mkswap", &["-q"]);
    let home = tree(dir, "home-files", &[("srv/served", "yes")]);
    let options = ["-q", "-L", "home", "-d", home.to_str().unwrap()];
    let home = filesystem(dir, "home", 16, "mkfs.ext4", &options);
    disk(
        dir,
        "gpt",
        400,
        "label: gpt\nstart=1MiB, size=40MiB, type=U, name=esp\nstart=41MiB, size=300MiB\n\
         start=341MiB, size=10MiB, type=S\nstart=351MiB, size=16MiB\n",
        &[(1, &esp), (41, &root), (341, &swap), (351, &home)],
    )
}

/// An MBR with ext2, and ext3 in a logical partition.
pub fn second_disk(dir: &Path) -> PathBuf {
    let ext2 = filesystem(dir, "ext2", 8, "mkfs.ext2", &["-q"]);
    let ext3 = filesystem(dir, "ext3", 8, "mkfs.ext3", &["-q"]);
    disk(
        dir,
        "mbr",
        64,
        "label: dos\nlabel-id: 0xcafe0001\nstart=1MiB, size=8MiB, type=83\n\
         start=16MiB, size=40MiB, type=5\n5: start=17MiB, size=8MiB, type=83\n",
        &[(1, &ext2), (17, &ext3)],
    )
}
